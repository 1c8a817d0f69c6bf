%% Mirrors messages, room traffic and who is in the rooms to xmpp-archiver, with acknowledgement.
%%
%% The hooks make a copy of each message where it is sent, where it comes in from another server, and where a session receives it. Copies go
%% through a queue on this node's disk (xmpp_archiver_queue). A `ref`, which the message carries beside itself through this node, tells the
%% archive which copies are of one message.
%%
%% No hook may harm what it watches: an error is counted and logged without the stanza, and the stanza goes on as it came.
-module(mod_xmpp_archiver).
-behaviour(gen_mod).

-export([start/2, stop/1, reload/3, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0]).
-export([gate/1, user_send_packet/1, user_receive_packet/1, s2s_receive_packet/1, component_send_packet/1, component_connected/1]).
-export([muc_filter_presence/3, muc_filter_message/3, join_room/4, leave_room/4]).
-export([status/1, decode_iq_subel/1]).

-include("logger.hrl").
-include("xmpp.hrl").

-define(VERSION, <<"0.1.0">>).
-define(MIRROR_NS, <<"urn:xmpp-archiver:mirror:0">>).
-define(QUEUE, xmpp_archiver_queue).
%% Right after mod_mam, which gives the ids and has the same number, and before mod_carboncopy (89), which ends the chain for carbons.
-define(AFTER_MAM, 88).
%% Before anything stores a message that may be refused.
-define(FIRST, 5).
-define(ROOM_AFTER_MAM, 60).
%% Errors beyond so many are counted and not logged.
-define(MOST_LOGGED, 100).

%% Start and stop.

start(Host, Options) ->
    remember(Host, Options),
    start_queue(Host, Options),
    [ejabberd_hooks:add(Hook, Scope, ?MODULE, Function, Order) || {Hook, Scope, Function, Order} <- hooks(Host)],
    gen_iq_handler:add_iq_handler(ejabberd_local, Host, ?MIRROR_NS, ?MODULE, status).

stop(Host) ->
    gen_iq_handler:remove_iq_handler(ejabberd_local, Host, ?MIRROR_NS),
    IsLast = not gen_mod:is_loaded_elsewhere(Host, ?MODULE),
    [ejabberd_hooks:delete(Hook, Scope, ?MODULE, Function, Order)
     || {Hook, Scope, Function, Order} <- hooks(Host), Scope =/= global orelse IsLast],
    _ = persistent_term:erase({?MODULE, Host}),
    case IsLast of
        true ->
            _ = supervisor:terminate_child(ejabberd_gen_mod_sup, ?QUEUE),
            _ = supervisor:delete_child(ejabberd_gen_mod_sup, ?QUEUE),
            ok;
        false -> ok
    end.

reload(Host, Options, _) ->
    remember(Host, Options),
    case persistent_term:get(?MODULE, none) of
        #{host := Host} = Queue -> ?QUEUE:configure(queue_options(maps:get(host, Queue), Options));
        _AnotherHostsOptionsCount -> ok
    end.

hooks(Host) ->
    [
        {user_send_packet, Host, gate, ?FIRST},
        {user_send_packet, Host, user_send_packet, ?AFTER_MAM},
        {user_receive_packet, Host, user_receive_packet, ?AFTER_MAM},
        {s2s_receive_packet, Host, s2s_receive_packet, 90},
        {muc_filter_presence, Host, muc_filter_presence, ?ROOM_AFTER_MAM},
        {muc_filter_message, Host, muc_filter_message, ?ROOM_AFTER_MAM},
        {join_room, Host, join_room, 50},
        {leave_room, Host, leave_room, 50},
        {component_connected, global, component_connected, 50},
        {component_send_packet, global, component_send_packet, 10}
    ].

%% What the hooks need of a host's options, where reading costs nothing.
remember(Host, #{component := Component, mode := Mode, require_timeout := Limit, on_timeout := OnTimeout}) ->
    persistent_term:put({?MODULE, Host}, #{component => Component, mode => Mode, limit => Limit, on_timeout => OnTimeout}).

%% One queue for the whole node, with the options of the host that started first.
start_queue(Host, Options) ->
    Wanted = queue_options(Host, Options),
    Child = #{id => ?QUEUE, start => {?QUEUE, start_link, [Wanted]}, restart => permanent, shutdown => 15000, type => worker, modules => [?QUEUE]},
    case supervisor:start_child(ejabberd_gen_mod_sup, Child) of
        {ok, _} ->
            Boot = [integer_to_binary(erlang:system_time(microsecond), 36), $., integer_to_binary(rand:uniform(16#FFFFFF), 36), $.],
            persistent_term:put(?MODULE, #{host => Host, component => maps:get(component, Wanted), refs => iolist_to_binary(Boot)});
        {error, {already_started, _}} ->
            #{host := First, component := Component} = persistent_term:get(?MODULE),
            Component =:= maps:get(component, Wanted) orelse
                ?WARNING_MSG("~ts: the node has one queue, whose options are those of ~ts; it goes to ~ts", [Host, First, Component]),
            ok
    end.

queue_options(Host, Options) ->
    Dir = case maps:get(queue_dir, Options) of
        undefined -> filename:join(mnesia:system_info(directory), "xmpp_archiver");
        Given -> unicode:characters_to_list(Given)
    end,
    maps:merge(maps:with([component, disk_limit, when_full, window, max_pending, stall_timeout], Options), #{host => Host, queue_dir => Dir}).

%% The messages.

%% In require mode, before anything has stored the message: is the archive there at all?
gate({#message{to = To} = Message, #{lserver := Host}} = Acc) ->
    guarded(gate, Acc, fun() ->
        #{component := Component, mode := Mode, limit := Limit} = Options = persistent_term:get({?MODULE, Host}),
        case Mode =:= observe orelse is_archives(To, Component) orelse ?QUEUE:wait_for_link(Limit) of
            true -> Acc;
            false -> refused(Message, Acc, Options, not_connected)
        end
    end);
gate(Acc) -> Acc.

user_send_packet({#message{to = To} = Message, #{lserver := Host, jid := Jid} = C2s} = Acc) ->
    guarded_by_mode(user_send_packet, Host, Message, Acc, fun() ->
        #{component := Component} = Options = persistent_term:get({?MODULE, Host}),
        case is_archives(To, Component) of
            true -> Acc;
            false ->
                Ref = new_ref(),
                Marked = xmpp_archiver_copy:with_ref(Ref, Message),
                Ids = xmpp_archiver_copy:own_ids([Jid], Message),
                mirror_first(#{direction => sent, ref => Ref, session => Jid, ids => Ids}, Marked, {Marked, C2s}, Options)
        end
    end);
user_send_packet(Acc) -> Acc.

user_receive_packet({#message{from = From} = Message, #{lserver := Host, jid := Jid}} = Acc) ->
    guarded(user_receive_packet, Acc, fun() ->
        #{component := Component} = persistent_term:get({?MODULE, Host}),
        case is_archives(From, Component) orelse xmpp_archiver_copy:is_archive_result(Message) of
            true -> Acc;
            false ->
                Ids = xmpp_archiver_copy:own_ids([Jid, From], Message),
                mirror(#{direction => received, ref => xmpp_archiver_copy:ref(Message), session => Jid, ids => Ids}, Message),
                Acc
        end
    end);
user_receive_packet({#presence{from = From, sub_els = [_ | _] = Elements} = Presence, #{jid := Jid}} = Acc) ->
    guarded(user_receive_packet, Acc, fun() ->
        %% Rooms of other servers; our own tell themselves.
        lists:any(fun is_own_presence_in_room/1, Elements) andalso not ejabberd_router:is_my_route(From#jid.lserver) andalso
            mirror(#{direction => received, session => Jid}, Presence),
        Acc
    end);
user_receive_packet(Acc) -> Acc.

%% XEP-0045 section 7.2.2: status 110 is in the presence that tells an occupant about himself.
is_own_presence_in_room(#muc_user{status_codes = Codes}) -> lists:member(110, Codes);
is_own_presence_in_room(#xmlel{name = <<"x">>} = Element) ->
    fxml:get_tag_attr_s(<<"xmlns">>, Element) =:= ?NS_MUC_USER andalso
        lists:any(fun(Status) -> fxml:get_tag_attr_s(<<"code">>, Status) =:= <<"110">> end, fxml:get_subtags(Element, <<"status">>));
is_own_presence_in_room(_) -> false.

%% From another server.
s2s_receive_packet({#message{to = #jid{lserver = Host}} = Message, State} = Acc) ->
    guarded_by_mode(s2s_receive_packet, Host, Message, Acc, fun() -> from_outside(Message, Acc, fun(Marked) -> {Marked, State} end, may_wait) end);
s2s_receive_packet(Acc) -> Acc.

%% From a component: its answers, if it is the archive; a message like one from another server, if it is another one.
component_send_packet({#iq{type = Type, id = Id, from = #jid{lserver = From}} = Iq, State} = Acc) when Type =:= result; Type =:= error ->
    guarded(component_send_packet, Acc, fun() ->
        case persistent_term:get(?MODULE) of
            #{component := From} ->
                IsOurs = ?QUEUE:answered(Id, answer(Iq)) orelse ?QUEUE:hello(Id, self(), socket(State)),
                if IsOurs -> {drop, State}; true -> Acc end;
            _ -> {Iq, State}
        end
    end);
component_send_packet({#message{} = Message, State} = Acc) ->
    guarded(component_send_packet, Acc, fun() -> from_outside(Message, Acc, fun(Marked) -> {Marked, State} end, must_not_wait) end);
component_send_packet(Acc) -> Acc.

%% An error is never the archive's own: the server answers so when nobody is there.
answer(#iq{type = error}) -> error;
answer(#iq{type = result, sub_els = [#xmlel{name = <<"refused">>} | _]}) -> refused;
answer(#iq{type = result}) -> ok.

%% Bytes may be written to it from outside only when nothing transforms them.
socket(#{socket := Socket}) ->
    case xmpp_socket:get_transport(Socket) of
        tcp -> Socket;
        _ -> none
    end.

component_connected(Component) ->
    guarded(component_connected, ok, fun() ->
        case persistent_term:get(?MODULE) of
            #{component := Component} -> ?QUEUE:component_is_up(self());
            _ -> ok
        end,
        ok
    end).

%% What a room elsewhere says comes once for each of its occupants here, each of whom has a copy of his own: nothing here tells that they are one.
from_outside(#message{from = From, to = #jid{lserver = Server}, type = Type} = Message, Acc, Result, MayWait) ->
    Host = case ejabberd_router:is_my_route(Server) of
        true -> ejabberd_router:host_of_route(Server);
        false -> elsewhere
    end,
    case persistent_term:get({?MODULE, Host}, none) of
        none -> Acc;
        #{component := Component} = Options ->
            IsIntoRoom = Server =/= Host,
            case is_archives(From, Component) orelse is_archives(Message#message.to, Component) orelse (Type =:= groupchat andalso not IsIntoRoom) of
                true -> Acc;
                false ->
                    Ref = new_ref(),
                    Marked = xmpp_archiver_copy:with_ref(Ref, Message),
                    Facts = #{direction => if IsIntoRoom -> sent; true -> received end, ref => Ref},
                    Mode = case MayWait of may_wait -> Options; must_not_wait -> Options#{mode := observe} end,
                    mirror_first(Facts, Marked, Result(Marked), Mode)
            end
    end.

is_archives(#jid{lserver = Component}, Component) -> true;
is_archives(_, _) -> false.

%% For ever unique on this node, and as good as that in a cluster.
new_ref() ->
    #{refs := Boot} = persistent_term:get(?MODULE),
    <<Boot/binary, (integer_to_binary(erlang:unique_integer([positive]), 36))/binary>>.

%% Rooms.

muc_filter_presence(#presence{} = Presence, State, Nick) ->
    guarded(muc_filter_presence, Presence, fun() -> xmpp_archiver_room:asked(Presence, State, Nick), Presence end);
muc_filter_presence(Acc, _, _) -> Acc.

join_room(_, Room, Host, Jid) -> guarded(join_room, ok, fun() -> room_presence(xmpp_archiver_room:entered(Room, Host, Jid)) end).

leave_room(_, Room, Host, Jid) -> guarded(leave_room, ok, fun() -> room_presence(xmpp_archiver_room:left(Room, Host, Jid)) end).

room_presence(none) -> ok;
room_presence(#presence{to = Jid} = Presence) -> mirror(#{direction => received, session => Jid}, Presence).

muc_filter_message(#message{to = To} = Message, State, _Nick) ->
    guarded(muc_filter_message, Message, fun() ->
        case xmpp_archiver_room:list_if_needed(State) of
            none -> Message;
            Occupants ->
                Ids = xmpp_archiver_copy:own_ids([To], Message),
                mirror(#{direction => sent, ref => xmpp_archiver_copy:ref(Message), ids => Ids, occupants => Occupants}, Message),
                Message
        end
    end);
muc_filter_message(Acc, _, _) -> Acc.

%% Into the queue.

mirror(Facts, Stanza) -> ?QUEUE:add(xmpp_archiver_copy:tail(Facts, Stanza), erlang:system_time(microsecond)).

%% The first copy of a message: the one that require mode waits for.
mirror_first(Facts, Message, Acc, #{mode := observe}) ->
    mirror(Facts, Message),
    Acc;
mirror_first(Facts, Message, Acc, #{mode := require, limit := Limit} = Options) ->
    Result = try ?QUEUE:add_and_wait(xmpp_archiver_copy:tail(Facts, Message), erlang:system_time(microsecond), Limit)
             catch Class:Why:Stack ->
                 failed(mirror_first, Class, Why, Stack),
                 {error, failed}
             end,
    case Result of
        ok -> Acc;
        {error, Reason} -> refused(Message, Acc, Options, Reason)
    end.

refused(_, Acc, #{on_timeout := deliver}, _) -> Acc;
refused(#message{type = error}, {_, State}, _, _) -> {stop, {drop, State}};
refused(Message, {_, State}, _, Reason) ->
    ?INFO_MSG("A message was bounced: the archive did not confirm it (~p)", [Reason]),
    Text = <<"Your message was not delivered: it could not be recorded. Please try again later.">>,
    Error = (xmpp:err_resource_constraint(Text, <<"en">>))#stanza_error{type = wait},
    ejabberd_router:route_error(Message, Error),
    {stop, {drop, State}}.

%% For the hooks that can keep a message back: in require mode what fails is not recorded, and treated like that.
guarded_by_mode(Hook, Host, Message, Acc, Work) ->
    case guarded(Hook, failed, Work) of
        failed ->
            guarded(Hook, Acc, fun() ->
                case persistent_term:get({?MODULE, Host}, none) of
                    #{mode := require} = Options -> refused(Message, Acc, Options, failed);
                    _ -> Acc
                end
            end);
        Done -> Done
    end.

guarded(Hook, Otherwise, Work) ->
    try Work()
    catch Class:Why:Stack ->
        failed(Hook, Class, Why, Stack),
        Otherwise
    end.

%% The reason and the arguments in the stack may hold a message: only where it happened is logged.
failed(Hook, Class, Why, Stack) ->
    Count = try ?QUEUE:count_error() catch _:_ -> 1 end,
    Kind = if is_atom(Why) -> Why; is_tuple(Why), is_atom(element(1, Why)) -> element(1, Why); true -> other end,
    Where = [{Module, Function, if is_list(Arity) -> length(Arity); true -> Arity end, proplists:get_value(line, Location, 0)}
             || {Module, Function, Arity, Location} <- lists:sublist(Stack, 3)],
    Count =< ?MOST_LOGGED andalso ?ERROR_MSG("Error in ~p, the stanza goes on: ~p ~p at ~p", [Hook, Class, Kind, Where]).

%% The archive asks how we are.

decode_iq_subel(Element) -> Element.

status(#iq{type = get, from = #jid{luser = <<>>, lserver = From}, to = #jid{lserver = Host}, sub_els = [#xmlel{name = <<"status">>}]} = Iq) ->
    case persistent_term:get({?MODULE, Host}, none) of
        #{component := From, mode := Mode} -> xmpp:make_iq_result(Iq, status_element(Mode, ?QUEUE:status()));
        _ -> not_for_you(Iq)
    end;
status(Iq) -> not_for_you(Iq).

%% As if we were not there.
not_for_you(#iq{lang = Lang} = Iq) -> xmpp:make_error(Iq, xmpp:err_service_unavailable(<<"No module is handling this query">>, Lang)).

status_element(Mode, #{epoch := Epoch, next := Next, oldest := Oldest} = Status) ->
    Numbers = [{Name, integer_to_binary(maps:get(Key, Status))} || {Name, Key} <- [
        {<<"depth">>, depth}, {<<"bytes">>, bytes}, {<<"in-flight">>, in_flight},
        {<<"dropped">>, dropped}, {<<"refused">>, refused}, {<<"errors">>, errors}]],
    Since = case Oldest of
        none -> [];
        At -> [{<<"oldest">>, list_to_binary(calendar:system_time_to_rfc3339(At, [{unit, microsecond}, {offset, "Z"}]))}]
    end,
    Attributes = [{<<"xmlns">>, ?MIRROR_NS}, {<<"module">>, <<"ejabberd">>}, {<<"version">>, ?VERSION},
        {<<"mode">>, atom_to_binary(Mode)}, {<<"epoch">>, Epoch}, {<<"next">>, integer_to_binary(Next)}] ++ Numbers ++ Since,
    #xmlel{name = <<"status">>, attrs = Attributes}.

%% Options.

depends(_, _) -> [].

mod_opt_type(component) -> econf:domain();
mod_opt_type(mode) -> econf:enum([observe, require]);
mod_opt_type(require_timeout) -> econf:timeout(second);
mod_opt_type(on_timeout) -> econf:enum([bounce, deliver]);
mod_opt_type(queue_dir) -> econf:path();
mod_opt_type(disk_limit) -> econf:pos_int();
mod_opt_type(when_full) -> econf:enum([drop_new, drop_oldest]);
mod_opt_type(window) -> econf:int(1, 8000);
mod_opt_type(max_pending) -> econf:int(100, 1000000);
mod_opt_type(stall_timeout) -> econf:timeout(second).

mod_options(_) ->
    [
        component,
        {mode, observe},
        {require_timeout, timer:seconds(10)},
        {on_timeout, bounce},
        {queue_dir, undefined},
        {disk_limit, 10 * 1024 * 1024 * 1024},
        {when_full, drop_new},
        {window, 1000},
        {max_pending, 100000},
        {stall_timeout, timer:minutes(5)}
    ].

mod_doc() ->
    #{desc => <<"Mirrors messages to xmpp-archiver, through a queue on disk and with acknowledgement. See its README.md for the options.">>}.
