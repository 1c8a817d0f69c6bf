%% One copy of a stanza as the archive gets it: the envelope `urn:xmpp-archiver:mirror:0` (docs/MIRROR.md). No side effects.
%%
%% Here is the part that depends on the stanza, from the attribute `direction` to the end. The part before it, with the numbers of the
%% queue, is written when the copy is sent: see xmpp_archiver_queue.
-module(xmpp_archiver_copy).

-export([tail/2, ref/1, with_ref/2, is_archive_result/1, own_ids/2]).

-include("xmpp.hrl").

-define(FORWARD_NS, <<"urn:xmpp:forward:0">>).
-define(REF, xmpp_archiver_ref).

%% The facts, all but the direction may be missing:
%% #{direction := sent | received, ref => binary(), session => jid(), ids => [#stanza_id{}], occupants => {jid(), [{Nick, jid()}]}}.
tail(#{direction := Direction} = Facts, Stanza) ->
    iolist_to_binary([
        <<" direction='">>, atom_to_binary(Direction), $',
        attribute(<<" ref='">>, maps:get(ref, Facts, none)),
        attribute(<<" session='">>, address(maps:get(session, Facts, none))),
        $>,
        [stanza_id(Id) || Id <- maps:get(ids, Facts, [])],
        occupants(maps:get(occupants, Facts, none)),
        <<"<forwarded xmlns='urn:xmpp:forward:0'>">>,
        fxml:element_to_binary(xmpp:encode(Stanza, ?FORWARD_NS)),
        <<"</forwarded></mirror></iq>">>
    ]).

attribute(_, none) -> [];
attribute(Start, Value) -> [Start, fxml:crypt(Value), $'].

address(none) -> none;
address(Jid) -> jid:encode(Jid).

stanza_id(#stanza_id{by = By, id = Id}) ->
    [<<"<stanza-id xmlns='urn:xmpp:sid:0'">>, attribute(<<" by='">>, jid:encode(By)), attribute(<<" id='">>, Id), <<"/>">>].

occupants(none) -> [];
occupants({Room, List}) ->
    Occupants = [[<<"<occupant">>, attribute(<<" nick='">>, Nick), attribute(<<" jid='">>, jid:encode(Jid)), <<"/>">>] || {Nick, Jid} <- List],
    [<<"<occupants">>, attribute(<<" room='">>, jid:encode(Room)), $>, Occupants, <<"</occupants>">>].

%% The ref travels beside the stanza in what ejabberd knows of it, never in the stanza.
with_ref(Ref, Message) -> xmpp:put_meta(Message, ?REF, Ref).

%% A carbon's is that of the message in it. None for messages that this node made, or took out of a database.
ref(#message{meta = #{?REF := Ref}}) -> Ref;
ref(#message{meta = #{carbon_copy := true}, sub_els = [Carbon]}) -> ref_inside(Carbon);
ref(_) -> none.

ref_inside(#carbons_sent{forwarded = #forwarded{sub_els = [#message{meta = #{?REF := Ref}}]}}) -> Ref;
ref_inside(#carbons_received{forwarded = #forwarded{sub_els = [#message{meta = #{?REF := Ref}}]}}) -> Ref;
ref_inside(_) -> none.

%% A result of an archive query (XEP-0313): everything in it was mirrored when it was said.
is_archive_result(#message{sub_els = [#mam_result{} | _]}) -> true;
is_archive_result(_) -> false.

%% The ids that our own archives gave the message: what else says so was written by a client. `By` is whose archive may have.
own_ids(By, #message{meta = #{mam_archived := true}, sub_els = Elements}) ->
    [Id || #stanza_id{by = #jid{luser = User, lserver = Server, lresource = <<>>}} = Id <- Elements, is_one_of(User, Server, By)];
own_ids(_, _) -> [].

is_one_of(User, Server, By) -> lists:any(fun(#jid{luser = U, lserver = S}) -> U =:= User andalso S =:= Server end, By).
