%% Who is in this node's rooms: told to the archive as it changes, and in full before the first message of which it could not know.
%%
%% All hooks here run in the process of the room. Its process dictionary keeps the nicks that entered since the module watches, and whether
%% something happened that the hooks don't show, such as a change of nick; then the next message takes the whole list with it.
-module(xmpp_archiver_room).

-export([asked/3, entered/3, left/3, list_if_needed/1]).

-include("xmpp.hrl").
-include("mod_muc_room.hrl").

-define(KNOWN, xmpp_archiver_nicks).
-define(ASKED, xmpp_archiver_asked).

%% Somebody's presence is about to be handled: he may enter, leave or take another nick.
asked(#presence{from = From, type = Type}, #state{users = Users}, Nick) ->
    Key = jid:tolower(From),
    map_size(Users) =:= 0 andalso put(?KNOWN, #{}),
    case Users of
        #{Key := #user{nick = Old}} when Type =:= available, Old =/= Nick -> forget_all();
        #{Key := #user{nick = Old}} -> remember(Key, Old);
        _ -> put(?ASKED, {Key, Nick})
    end,
    ok.

%% Somebody has entered: the presence that says so to him, or none if his nick is not known.
entered(Room, Host, Jid) ->
    Key = jid:tolower(Jid),
    case erase(?ASKED) of
        {Key, Nick} ->
            remember(Key, Nick),
            presence(available, Room, Host, Nick, Jid);
        _ ->
            forget_all(),
            none
    end.

left(Room, Host, Jid) ->
    Key = jid:tolower(Jid),
    case known() of
        #{Key := Nick} = Nicks ->
            put(?KNOWN, maps:remove(Key, Nicks)),
            presence(unavailable, Room, Host, Nick, Jid);
        _ ->
            forget_all(),
            none
    end.

presence(Type, Room, Host, Nick, Jid) ->
    User = #muc_user{items = [#muc_item{jid = Jid}], status_codes = [110]},
    #presence{type = Type, from = jid:make(Room, Host, Nick), to = Jid, sub_els = [User]}.

%% The whole list, when the archive may not know it: {Room, [{Nick, Jid}]} or none.
list_if_needed(#state{jid = Room, users = Users}) ->
    case get(?KNOWN) of
        undefined ->
            put(?KNOWN, maps:map(fun(_, #user{nick = Nick}) -> Nick end, Users)),
            {Room, [{Nick, Jid} || #user{nick = Nick, jid = Jid} <- maps:values(Users)]};
        _ -> none
    end.

remember(Key, Nick) ->
    case get(?KNOWN) of
        undefined -> ok;
        Nicks -> put(?KNOWN, Nicks#{Key => Nick})
    end.

known() ->
    case get(?KNOWN) of
        undefined -> #{};
        Nicks -> Nicks
    end.

forget_all() -> erase(?KNOWN).
