%% What goes over a connection of the archive's component: the ping that each begins with, and the copies.
%%
%% Copies are bytes already. On a plain socket they are written as they are, many at once, by a process of their own: writing waits when the
%% archive does not read, and the queue must not. Over TLS they go through ejabberd's process of the connection, one stanza each. Either way they
%% go to this connection and to nothing else: never to another server.
-module(xmpp_archiver_link).

-export([ping/2, is_ping/1, sender/2, send/4, head/5]).

-include("xmpp.hrl").

-define(PING, <<"xa-hello">>).
-define(MIRROR_NS, "urn:xmpp-archiver:mirror:0").
%% So many hand-overs go into one write.
-define(WRITE_TOGETHER, 64).

ping(Host, Component) -> #iq{type = get, id = ?PING, from = jid:make(Host), to = jid:make(Component), sub_els = [#ping{}]}.

is_ping(Id) -> Id =:= ?PING.

%% The process that writes to a socket; none where bytes can't be written from outside.
sender(_, none) -> undefined;
sender(Pid, Socket) -> spawn_link(fun() -> send_on(Pid, Socket) end).

send_on(Pid, Socket) ->
    receive
        {send, Bytes} ->
            case xmpp_socket:send(Socket, [Bytes | waiting_to_send(?WRITE_TOGETHER)]) of
                ok -> send_on(Pid, Socket);
                {error, _} -> xmpp_stream_in:close(Pid, closed)
            end
    end.

waiting_to_send(0) -> [];
waiting_to_send(Most) ->
    receive {send, Bytes} -> [Bytes | waiting_to_send(Most - 1)]
    after 0 -> []
    end.

%% Hands copies over in their order.
send(_, _, [], _) -> ok;
send(Sender, _, Copies, _) when is_pid(Sender) ->
    Sender ! {send, Copies},
    ok;
send(undefined, Pid, Copies, #{component := Component, host := Host}) ->
    lists:foreach(
        fun(Copy) ->
            #xmlel{attrs = Attributes, children = Children} = fxml_stream:parse_element(iolist_to_binary(Copy)),
            {_, Id} = lists:keyfind(<<"id">>, 1, Attributes),
            Pid ! {route, #iq{type = set, id = Id, from = jid:make(Host), to = jid:make(Component), sub_els = Children}}
        end,
        Copies).

%% The start of a copy up to its own part, with the numbers of the queue; the text of the last second is handed on.
head(Epoch, Seq, At, #{host := Host, component := Component}, LastStamp) ->
    Number = integer_to_binary(Seq),
    {Stamp, NewStamp} = stamp(At, LastStamp),
    Head = [
        <<"<iq type='set' id='">>, Epoch, $:, Number, <<"' from='">>, Host, <<"' to='">>, Component,
        <<"'><mirror xmlns='", ?MIRROR_NS, "' host='">>, Host, <<"' epoch='">>, Epoch, <<"' seq='">>, Number, <<"' at='">>, Stamp, $'
    ],
    {Head, NewStamp}.

%% XEP-0082.
stamp(At, {Second, Text} = Last) ->
    Fraction = tl(integer_to_list(1000000 + At rem 1000000)),
    case At div 1000000 of
        Second -> {[Text, $., Fraction, $Z], Last};
        Other ->
            <<New:19/binary, _/binary>> = list_to_binary(calendar:system_time_to_rfc3339(Other, [{offset, "Z"}])),
            {[New, $., Fraction, $Z], {Other, New}}
    end.
