%% The queue between this node and its archive: one process on each node, in front of the log on disk.
%%
%% Copies come in from the hooks as messages. All that wait are written and synchronised together (group commit); only what is durable here is
%% sent, so that a crash never gives a number away twice. A copy leaves the queue when the archive has answered it. At most `window` copies are
%% unanswered at a time. When a connection of the archive's component comes up, a ping is sent through it; its answer shows that the archive
%% is there, and brings the socket; then everything is sent again from the first unanswered copy on, with the same numbers. On a live
%% connection nothing is sent twice; one that answers nothing for `stall_timeout` while answers are due is closed.
%%
%% Nothing here can make a user wait or the node's memory grow: the hooks count what they hand over and drop, and count that too, when more
%% than `max_pending` copies or 64 MiB wait for this process; in memory are besides those only the window's positions.
-module(xmpp_archiver_queue).

-export([start_link/1, init/1, system_continue/3, system_terminate/4, system_code_change/4]).
-export([add/2, add_and_wait/3, wait_for_link/1, answered/2, hello/3, component_is_up/1, status/0, count_error/0, configure/1]).

-include("logger.hrl").

-define(MAX_PENDING_BYTES, 64 * 1024 * 1024).
%% So many copies are written together at most.
-define(BATCH, 512).
-define(READ_BYTES, 256 * 1024).
%% So many bytes are on their way at a time, at least one copy.
-define(WINDOW_BYTES, 8 * 1024 * 1024).
%% So many bytes are held ready for the window, so that they need not be read back from the disk.
-define(AHEAD_BYTES, 8 * 1024 * 1024).
%% So many copies sent after one that is not answered are answered before that one is given up: the archive refused it.
-define(PASSED_OVER, 10000).
%% After a write the next one waits so long for company: under load a write takes many copies, and one copy alone is not delayed.
-define(LINGER_MS, 10).
-define(TICK_MS, 1000).

%% The shared counters.
-define(PENDING, 1).
-define(PENDING_BYTES, 2).
-define(DROPPED, 3).
-define(ERRORS, 4).
-define(LINKED, 5).
-define(DOWN_SINCE, 6).

-record(link, {pid :: pid(), monitor :: reference(), sender :: pid() | undefined, answered_at :: integer()}).
-record(q, {
    options :: map(),
    parent :: pid(),
    counters :: atomics:atomics_ref(),
    log :: tuple() | undefined,
    link :: #link{} | undefined,
    %% Component connections that were asked for a sign of life.
    asked = #{} :: #{pid() => reference()},
    %% Copies that came in and are not written, newest first: {At, Tail, Waiter}.
    batch = [] :: list(),
    batch_bytes = 0 :: non_neg_integer(),
    batch_count = 0 :: non_neg_integer(),
    written_at = 0 :: integer(),
    %% The last position that was sent on this link.
    sent = 0 :: non_neg_integer(),
    %% To be sent next: {Epoch, Base, [{Position, At, Tail}]}; how many bytes, and up to which position.
    ahead = queue:new() :: queue:queue(),
    ahead_bytes = 0 :: non_neg_integer(),
    ahead_to = 0 :: non_neg_integer(),
    %% Sent on this link, from the oldest that is not answered on, {Position, At}; and the sizes of those of them that are not answered.
    unanswered = queue:new() :: queue:queue(),
    unanswered_count = 0 :: non_neg_integer(),
    in_flight = #{} :: #{pos_integer() => non_neg_integer()},
    in_flight_bytes = 0 :: non_neg_integer(),
    %% Who waits for an answer: position => alias.
    waiters = #{} :: #{pos_integer() => reference()},
    dropped_seen = 0 :: non_neg_integer(),
    dropped = 0 :: non_neg_integer(),
    passed_over = 0 :: non_neg_integer(),
    saved = 0 :: non_neg_integer(),
    stamp = {0, <<>>} :: {integer(), binary()},
    complained_at = 0 :: integer()
}).

%% What the hooks call.

%% Hands a copy over without waiting: ok, or dropped.
add(Tail, At) -> hand_over(Tail, At, none).

%% Hands a copy over and waits until the archive has it: ok or {error, Why}.
add_and_wait(Tail, At, LimitMs) ->
    Deadline = deadline(LimitMs),
    Queue = whereis(?MODULE),
    Alias = monitor(process, Queue, [{alias, reply_demonitor}]),
    case hand_over(Tail, At, Alias) of
        dropped ->
            demonitor(Alias, [flush]),
            {error, overloaded};
        ok ->
            receive
                {Alias, Result} -> Result;
                {'DOWN', Alias, process, _, _} -> {error, queue_failed}
            after max(0, Deadline - now_ms()) ->
                demonitor(Alias, [flush]),
                unalias(Alias),
                Queue ! {give_up, Alias},
                {error, timeout}
            end
    end.

hand_over(Tail, At, Waiter) ->
    #{counters := Counters, max_pending := Most} = persistent_term:get(?MODULE),
    Size = byte_size(Tail),
    Count = atomics:add_get(Counters, ?PENDING, 1),
    Bytes = atomics:add_get(Counters, ?PENDING_BYTES, Size),
    case Count > Most orelse (Bytes > ?MAX_PENDING_BYTES andalso Count > 1) of
        false ->
            ?MODULE ! {copy, At, Tail, Waiter},
            ok;
        true ->
            atomics:sub(Counters, ?PENDING, 1),
            atomics:sub(Counters, ?PENDING_BYTES, Size),
            atomics:add(Counters, ?DROPPED, 1),
            dropped
    end.

%% Waits until the archive is connected: true, or false when it was not in time.
wait_for_link(LimitMs) ->
    #{counters := Counters} = persistent_term:get(?MODULE),
    case atomics:get(Counters, ?LINKED) of
        1 -> true;
        0 -> await_link(Counters, deadline(LimitMs))
    end.

%% Until when a message may wait that comes now: who comes after the archive has been away for the whole limit does not wait.
deadline(LimitMs) ->
    #{counters := Counters} = persistent_term:get(?MODULE),
    case atomics:get(Counters, ?LINKED) of
        1 -> now_ms() + LimitMs;
        0 -> max(now_ms(), atomics:get(Counters, ?DOWN_SINCE) + LimitMs)
    end.

await_link(Counters, Deadline) ->
    case {atomics:get(Counters, ?LINKED), Deadline - now_ms()} of
        {1, _} -> true;
        {0, Left} when Left =< 0 -> false;
        {0, Left} ->
            timer:sleep(min(Left, 50)),
            await_link(Counters, Deadline)
    end.

%% The archive answered an iq of ours: it has the copy (ok), never takes it (refused), or the answer came from elsewhere (error). True if the id is one of ours.
answered(<<"xa", _/binary>> = Id, Answer) ->
    case binary:split(Id, <<":">>) of
        [Epoch, Number] ->
            ?MODULE ! {answered, Epoch, binary_to_integer(Number), Answer},
            true;
        _ -> false
    end;
answered(_, _) -> false.

%% A component connection answered our ping. The socket is none where bytes can't be written to it from outside.
hello(Id, Pid, Socket) ->
    IsAnswer = xmpp_archiver_link:is_ping(Id),
    IsAnswer andalso (?MODULE ! {hello, Pid, Socket}),
    IsAnswer.

component_is_up(Pid) -> ?MODULE ! {component, Pid}.

status() ->
    Queue = whereis(?MODULE),
    Alias = monitor(process, Queue, [{alias, reply_demonitor}]),
    Queue ! {status, Alias},
    receive
        {Alias, Status} -> Status;
        {'DOWN', Alias, process, _, Why} -> error({queue_failed, Why})
    after 5000 ->
        demonitor(Alias, [flush]),
        error(timeout)
    end.

count_error() ->
    #{counters := Counters} = persistent_term:get(?MODULE),
    atomics:add_get(Counters, ?ERRORS, 1).

configure(Options) -> ?MODULE ! {configure, Options}.

%% The process.

start_link(Options) -> proc_lib:start_link(?MODULE, init, [{self(), Options}]).

init({Parent, Options}) ->
    process_flag(trap_exit, true),
    process_flag(message_queue_data, off_heap),
    %% Many write to this one process: on a busy node it must not get one turn in a hundred.
    process_flag(priority, high),
    register(?MODULE, self()),
    Counters = atomics:new(6, [{signed, true}]),
    atomics:put(Counters, ?DOWN_SINCE, now_ms()),
    Q = #q{options = Options, parent = Parent, counters = Counters, written_at = now_ms()},
    share(Q),
    proc_lib:init_ack(Parent, {ok, self()}),
    slow_down(),
    erlang:send_after(?TICK_MS, self(), tick),
    self() ! open,
    loop(Q).

%% An error that comes again with each start must not take the supervisor of ejabberd's modules with it.
slow_down() ->
    Last = persistent_term:get({?MODULE, started_at}, now_ms() - 1000),
    now_ms() - Last < 1000 andalso timer:sleep(1000),
    persistent_term:put({?MODULE, started_at}, now_ms()).

share(#q{options = #{max_pending := Most}, counters = Counters}) ->
    persistent_term:put(?MODULE, #{counters => Counters, max_pending => Most}).

loop(Q) ->
    receive
        {system, From, Request} -> sys:handle_system_msg(Request, From, Q#q.parent, ?MODULE, [], Q);
        {'EXIT', Parent, Why} when Parent =:= Q#q.parent -> stop(Why, Q);
        Message -> loop(settle_in_time(drain(take(Message, Q), ?BATCH)))
    after patience(Q) -> loop(settle(Q))
    end.

patience(#q{batch = []}) -> infinity;
patience(#q{written_at = At}) -> max(0, At + ?LINGER_MS - now_ms()).

settle_in_time(#q{batch = [_ | _], batch_count = Count} = Q) when Count < ?BATCH ->
    case patience(Q) of
        0 -> settle(Q);
        _ -> Q
    end;
settle_in_time(Q) -> settle(Q).

%% Takes what waits, up to one batch.
drain(Q, 0) -> Q;
drain(Q, Most) ->
    receive
        {copy, _, _, _} = Message -> drain(take(Message, Q), Most - 1);
        {answered, _, _, _} = Message -> drain(take(Message, Q), Most)
    after 0 -> Q
    end.

take(Message, Q) ->
    try handle(Message, Q)
    catch throw:{log, Why} -> disk_failed(Why, Q)
    end.

settle(Q) ->
    try pump(write(Q))
    catch throw:{log, Why} -> disk_failed(Why, Q)
    end.

system_continue(_, _, Q) -> loop(Q).
system_terminate(Why, _, _, Q) -> stop(Why, Q).
system_code_change(Q, _, _, _) -> {ok, Q}.

stop(Why, #q{log = undefined}) -> exit(Why);
stop(Why, #q{counters = Counters} = Q) ->
    #q{log = Log} = settle(drain(Q, max(0, atomics:get(Counters, ?PENDING)))),
    _ = catch xmpp_archiver_log:close(Log),
    exit(Why).

handle({copy, At, Tail, Waiter}, #q{counters = Counters} = Q) ->
    atomics:sub(Counters, ?PENDING, 1),
    atomics:sub(Counters, ?PENDING_BYTES, byte_size(Tail)),
    Counted = dropped_by_hooks(Q),
    Counted#q{
        batch = [{At, Tail, Waiter} | Counted#q.batch],
        batch_count = Counted#q.batch_count + 1,
        batch_bytes = Counted#q.batch_bytes + byte_size(Tail) + 24
    };
handle({answered, _, _, error}, Q) -> Q;
handle({answered, Epoch, Seq, Answer}, #q{log = Log, link = #link{} = Link} = Q) when Log =/= undefined ->
    case xmpp_archiver_log:position(Log, Epoch, Seq) of
        unknown -> Q;
        Position -> take_answer(Position, Answer, Q#q{link = Link#link{answered_at = now_ms()}})
    end;
handle({answered, _, _, _}, Q) -> Q;
handle({give_up, Alias}, #q{waiters = Waiters} = Q) ->
    Q#q{waiters = maps:filter(fun(_, Waiter) -> Waiter =/= Alias end, Waiters)};
handle({component, Pid}, Q) -> say_hello(Pid, Q);
handle({hello, Pid, Socket}, Q) -> link_up(Pid, Socket, Q);
handle({'DOWN', _, process, Pid, _}, #q{link = #link{pid = Pid}} = Q) -> ask_around(link_down(Q));
handle({'EXIT', Sender, _}, #q{link = #link{pid = Pid, sender = Sender}} = Q) ->
    xmpp_stream_in:close(Pid, closed),
    Q;
handle({'DOWN', _, process, Pid, _}, #q{asked = Asked} = Q) -> Q#q{asked = maps:remove(Pid, Asked)};
handle({status, Alias}, Q) ->
    {Status, Asked} = status_of(Q),
    Alias ! {Alias, Status},
    Asked;
handle(tick, Q) ->
    erlang:send_after(?TICK_MS, self(), tick),
    tick(Q);
handle(open, Q) -> open(Q);
handle({configure, New}, #q{options = Options} = Q) ->
    Changed = maps:merge(New, maps:with([component, queue_dir, host], Options)),
    share(Q#q{options = Changed}),
    Q#q{options = Changed};
handle(_Unknown, Q) -> Q.

%% The disk.

open(#q{options = #{queue_dir := Dir, disk_limit := Limit}} = Q) ->
    try xmpp_archiver_log:open(Dir, Limit) of
        Log ->
            {Epoch, _} = xmpp_archiver_log:epoch(Log),
            Acked = xmpp_archiver_log:acked(Log),
            Cut = xmpp_archiver_log:cut(Log),
            Cut > 0 andalso ?WARNING_MSG("The archive's queue ended in ~B bytes that were not whole; they are cut off", [Cut]),
            Left = xmpp_archiver_log:next(Log) - 1 - Acked,
            ?INFO_MSG("The archive's queue in ~ts is open, epoch ~ts, ~B copies to send", [Dir, Epoch, Left]),
            ask_around(Q#q{log = Log, sent = Acked, saved = Acked})
    catch throw:{log, Why} ->
        complain("Can't open the archive's queue in ~ts: ~p. Trying again every second, copies are lost meanwhile", [Dir, Why], Q),
        Q#q{complained_at = now_ms()}
    end.

write(#q{batch = []} = Q) -> Q;
write(#q{log = undefined} = Q) -> lose(not_open, Q);
write(#q{batch = Newest, batch_bytes = Bytes} = Q) ->
    case make_room(Bytes, Q) of
        {full, #q{batch_count = 1} = Full} -> lose(full, Full);
        {full, Full} -> write_one_by_one(Full);
        {room, Room} ->
            Batch = lists:reverse(Newest),
            First = xmpp_archiver_log:next(Room#q.log),
            Log = xmpp_archiver_log:add(Room#q.log, [{At, Tail} || {At, Tail, _} <- Batch]),
            Waiters = wait_at(Batch, First, Room#q.waiters),
            hold_ready(Batch, First, emptied(Room#q{log = Log, waiters = Waiters, written_at = now_ms()}))
    end.

%% Not all of them fit: some may.
write_one_by_one(#q{batch = Newest} = Q) ->
    Each = fun({_, Tail, _} = Copy, Written) -> write_or_lose(Written#q{batch = [Copy], batch_count = 1, batch_bytes = byte_size(Tail) + 24}) end,
    lists:foldl(Each, emptied(Q), lists:reverse(Newest)).

emptied(Q) -> Q#q{batch = [], batch_bytes = 0, batch_count = 0}.

wait_at([], _, Waiters) -> Waiters;
wait_at([{_, _, none} | Rest], Position, Waiters) -> wait_at(Rest, Position + 1, Waiters);
wait_at([{_, _, Alias} | Rest], Position, Waiters) -> wait_at(Rest, Position + 1, Waiters#{Position => Alias}).

make_room(Bytes, #q{log = Log, options = #{disk_limit := Limit}} = Q) ->
    case xmpp_archiver_log:bytes(Log) + Bytes =< Limit of
        true -> {room, Q};
        false ->
            Reclaimed = xmpp_archiver_log:reclaim(Log),
            case xmpp_archiver_log:bytes(Reclaimed) + Bytes =< Limit of
                true -> {room, Q#q{log = Reclaimed}};
                false -> give_up_oldest(Bytes, Q#q{log = Reclaimed})
            end
    end.

give_up_oldest(_, #q{options = #{when_full := drop_new}} = Q) -> {full, Q};
give_up_oldest(Bytes, #q{log = Log} = Q) ->
    case xmpp_archiver_log:drop_oldest(Log) of
        none -> {full, Q};
        {Last, Dropped} -> make_room(Bytes, forget_until(Last, Last - xmpp_archiver_log:acked(Log), Q#q{log = Dropped}))
    end.

%% The oldest copies were given up for newer ones.
forget_until(Last, Lost, #q{sent = Sent, waiters = Waiters, in_flight = InFlight} = Q) ->
    complain("The archive's queue is full: ~B of its oldest copies were given up", [Lost], Q),
    maps:foreach(fun(Position, Alias) -> Position =< Last andalso (Alias ! {Alias, {error, full}}) end, Waiters),
    Kept = maps:filter(fun(Position, _) -> Position > Last end, Waiters),
    Unanswered = queue:filter(fun({Position, _}) -> Position > Last end, Q#q.unanswered),
    Sizes = maps:filter(fun(Position, _) -> Position > Last end, InFlight),
    Reached = max(Sent, Last),
    Forgotten = (nothing_ready(Reached, Q))#q{sent = Reached, waiters = Kept, dropped = Q#q.dropped + Lost, complained_at = now_ms()},
    %% What comes now may have been answered already.
    advance(Forgotten#q{unanswered = Unanswered, unanswered_count = queue:len(Unanswered),
        in_flight = Sizes, in_flight_bytes = lists:sum(maps:values(Sizes))}).

%% The batch can't be kept: the sequence jumps over it.
lose(Why, #q{batch = Batch, batch_count = Count, log = Log} = Q) ->
    lists:foreach(fun({_, _, none}) -> ok; ({_, _, Alias}) -> Alias ! {Alias, {error, Why}} end, Batch),
    complain("The archive's queue can't take copies (~p): ~B more are lost", [Why, Count], Q),
    Skipped = case Log of undefined -> Log; _ -> xmpp_archiver_log:skip(Log, Count) end,
    emptied(Q#q{log = Skipped, dropped = Q#q.dropped + Count, complained_at = now_ms()}).

disk_failed(Why, #q{batch = []} = Q) ->
    complain("The archive's queue can't be read or written: ~p", [Why], Q),
    Q#q{complained_at = now_ms()};
disk_failed(Why, Q) -> lose(Why, Q).

%% Once a minute is enough.
complain(Format, Arguments, #q{complained_at = At}) ->
    case now_ms() - At > 60000 orelse At =:= 0 of
        true -> ?ERROR_MSG(Format, Arguments);
        false -> ok
    end.

dropped_by_hooks(#q{counters = Counters, dropped_seen = Seen, log = Log} = Q) ->
    case atomics:get(Counters, ?DROPPED) of
        Seen -> Q;
        Now ->
            Written = write_or_lose(Q),
            Lost = Now - Seen,
            complain("Copies come in faster than the disk takes them: ~B were lost", [Lost], Q),
            Skipped = case Log of undefined -> Log; _ -> xmpp_archiver_log:skip(Written#q.log, Lost) end,
            Written#q{log = Skipped, dropped_seen = Now, dropped = Q#q.dropped + Lost, complained_at = now_ms()}
    end.

write_or_lose(Q) ->
    try write(Q)
    catch throw:{log, Why} -> disk_failed(Why, Q)
    end.

%% The link.

%% Asks through a connection; the answer comes back through it.
say_hello(Pid, #q{asked = Asked, options = #{component := Component, host := Host}} = Q) ->
    Pid ! {route, xmpp_archiver_link:ping(Host, Component)},
    Monitor = case Asked of #{Pid := Known} -> Known; _ -> monitor(process, Pid) end,
    Q#q{asked = Asked#{Pid => Monitor}}.

%% Asks whatever connection there is, when none is known: after our own start, or when one of two went away.
ask_around(#q{link = undefined, log = Log, options = #{component := Component, host := Host}} = Q) when Log =/= undefined ->
    %% Without a route it would go to another server.
    try ejabberd_router:is_my_route(Component) andalso ejabberd_router:route(xmpp_archiver_link:ping(Host, Component))
    catch _:_ -> ok
    end,
    Q;
ask_around(Q) -> Q.

link_up(_, _, #q{log = undefined} = Q) -> Q;
link_up(Pid, _, #q{link = #link{pid = Pid}} = Q) -> Q;
link_up(Pid, Socket, #q{asked = Asked} = Q) when Q#q.link =:= undefined; is_map_key(Pid, Asked) ->
    #q{asked = Others} = Down = link_down(Q),
    case Asked of #{Pid := Monitor} -> demonitor(Monitor, [flush]); _ -> ok end,
    atomics:put(Q#q.counters, ?LINKED, 1),
    Link = #link{pid = Pid, monitor = monitor(process, Pid), sender = xmpp_archiver_link:sender(Pid, Socket), answered_at = now_ms()},
    Sent = xmpp_archiver_log:acked(Q#q.log),
    ?INFO_MSG("The archive is connected; sending from copy ~B of ~B on", [Sent + 1, xmpp_archiver_log:next(Q#q.log) - 1]),
    nothing_ready(Sent, Down#q{link = Link, asked = maps:remove(Pid, Others), sent = Sent});
link_up(_, _, Q) -> Q.

link_down(#q{link = undefined} = Q) -> Q;
link_down(#q{link = #link{monitor = Monitor, sender = Sender}, counters = Counters, in_flight = InFlight} = Q) ->
    demonitor(Monitor, [flush]),
    is_pid(Sender) andalso exit(Sender, kill),
    atomics:put(Counters, ?LINKED, 0),
    atomics:put(Counters, ?DOWN_SINCE, now_ms()),
    ?WARNING_MSG("The archive is not connected any more; ~B copies are unanswered", [map_size(InFlight)]),
    nothing_ready(0, Q#q{link = undefined, unanswered = queue:new(), unanswered_count = 0, in_flight = #{}, in_flight_bytes = 0}).

%% What was written just now is sent without reading it back, if everything before it was sent or is about to be.
hold_ready(Batch, First, #q{link = #link{}, ahead_to = To, ahead_bytes = Bytes} = Q) when To + 1 =:= First, Bytes < ?AHEAD_BYTES ->
    {Epoch, Base} = xmpp_archiver_log:epoch(Q#q.log),
    {Copies, Next} = lists:mapfoldl(fun({At, Tail, _}, Position) -> {{Position, At, Tail}, Position + 1} end, First, Batch),
    hold_ready_copies(Epoch, Base, Copies, Next - 1, Q);
hold_ready(_, _, Q) -> Q.

hold_ready_copies(Epoch, Base, Copies, Last, #q{ahead = Ahead, ahead_bytes = Bytes} = Q) ->
    More = lists:sum([byte_size(Tail) || {_, _, Tail} <- Copies]),
    Q#q{ahead = queue:in({Epoch, Base, Copies}, Ahead), ahead_bytes = Bytes + More, ahead_to = Last}.

nothing_ready(To, Q) -> Q#q{ahead = queue:new(), ahead_bytes = 0, ahead_to = To}.

%% Fills the window.
pump(#q{link = #link{}, ahead = Ahead} = Q) ->
    case has_room(Q) andalso queue:out(Ahead) of
        false -> Q;
        {{value, {Epoch, Base, Copies}}, Rest} ->
            case send(Epoch, Base, Copies, Q#q{ahead = Rest}, []) of
                {[], Sent} -> pump(Sent);
                {Left, #q{ahead = Others} = Sent} -> Sent#q{ahead = queue:in_r({Epoch, Base, Left}, Others)}
            end;
        {empty, _} -> pump_from_disk(Q)
    end;
pump(Q) -> Q.

pump_from_disk(#q{log = Log, ahead_to = To} = Q) ->
    case To + 1 < xmpp_archiver_log:next(Log) of
        false -> Q;
        true ->
            case xmpp_archiver_log:read(Log, To + 1, ?READ_BYTES) of
                {_, _, [], Read} ->
                    Last = xmpp_archiver_log:next(Read) - 1,
                    nothing_ready(Last, Q#q{log = Read, sent = Last});
                {Epoch, Base, Copies, Read} ->
                    {Last, _, _} = lists:last(Copies),
                    pump(hold_ready_copies(Epoch, Base, Copies, Last, Q#q{log = Read}))
            end
    end.

has_room(#q{in_flight = InFlight, in_flight_bytes = Bytes, options = #{window := Window}}) ->
    map_size(InFlight) < Window andalso Bytes < ?WINDOW_BYTES.

send(Epoch, Base, [{Position, At, Tail} | Rest] = Copies, Q, Bytes) ->
    case has_room(Q) of
        false -> {Copies, hand_to_link(Bytes, Q)};
        true ->
            {Head, Stamp} = xmpp_archiver_link:head(Epoch, Position - Base, At, Q#q.options, Q#q.stamp),
            Size = byte_size(Tail),
            Sent = Q#q{
                stamp = Stamp,
                sent = Position,
                ahead_bytes = Q#q.ahead_bytes - Size,
                unanswered = queue:in({Position, At}, Q#q.unanswered),
                unanswered_count = Q#q.unanswered_count + 1,
                in_flight = (Q#q.in_flight)#{Position => Size},
                in_flight_bytes = Q#q.in_flight_bytes + Size
            },
            send(Epoch, Base, Rest, idle_no_more(Q, Sent), [[Head, Tail] | Bytes])
    end;
send(_, _, [], Q, Bytes) -> {[], hand_to_link(Bytes, Q)}.

hand_to_link(Newest, #q{link = #link{pid = Pid, sender = Sender}, options = Options} = Q) ->
    xmpp_archiver_link:send(Sender, Pid, lists:reverse(Newest), Options),
    Q.

%% The patience with a silent archive begins when it is asked something.
idle_no_more(#q{unanswered_count = 0}, #q{link = Link} = Q) -> Q#q{link = Link#link{answered_at = now_ms()}};
idle_no_more(_, Q) -> Q.

%% Answers.

take_answer(Position, Answer, #q{in_flight = InFlight, in_flight_bytes = Bytes} = Q) ->
    case maps:take(Position, InFlight) of
        {Size, Others} ->
            Answered = Q#q{in_flight = Others, in_flight_bytes = Bytes - Size},
            give_up_first(advance(heed(Position, Answer, Answered)));
        error -> Q
    end.

heed(Position, ok, Q) -> wake(Position, ok, Q);
heed(Position, refused, Q) -> refused(Position, "does not take", Q).

%% It does not help to send it again.
refused(Position, Why, #q{passed_over = Count} = Q) ->
    complain("The archive ~s copy ~B; it is given up", [Why, Position], Q),
    (wake(Position, {error, refused}, Q))#q{passed_over = Count + 1, complained_at = now_ms()}.

%% So many that were sent after it are answered, and the oldest is not: the archive has looked at it.
give_up_first(#q{unanswered = Unanswered, unanswered_count = Count, in_flight = InFlight, in_flight_bytes = Bytes} = Q)
        when Count - map_size(InFlight) > ?PASSED_OVER ->
    {value, {First, _}} = queue:peek(Unanswered),
    {Size, Others} = maps:take(First, InFlight),
    advance(refused(First, "does not answer", Q#q{in_flight = Others, in_flight_bytes = Bytes - Size}));
give_up_first(Q) -> Q.

wake(Position, Result, #q{waiters = Waiters} = Q) ->
    case Waiters of
        #{Position := Alias} ->
            Alias ! {Alias, Result},
            Q#q{waiters = maps:remove(Position, Waiters)};
        _ -> Q
    end.

%% The oldest copies that are answered are done.
advance(#q{unanswered = Unanswered, unanswered_count = Count, in_flight = InFlight} = Q) ->
    case queue:peek(Unanswered) of
        {value, {Position, _}} when not is_map_key(Position, InFlight) ->
            advance(Q#q{unanswered = queue:drop(Unanswered), unanswered_count = Count - 1, log = released(Position, Q)});
        _ -> Q
    end.

released(Position, #q{log = Log}) -> xmpp_archiver_log:ack(Log, Position).

%% Once a second.

tick(#q{log = undefined} = Q) -> open(Q);
tick(Q) -> check_stall(ask_around(save(dropped_by_hooks(Q)))).

save(#q{log = Log, saved = Saved} = Q) ->
    case xmpp_archiver_log:acked(Log) of
        Saved -> Q;
        Acked ->
            try Q#q{log = xmpp_archiver_log:save(Log, false), saved = Acked}
            catch throw:{log, Why} -> disk_failed(Why, Q)
            end
    end.

check_stall(#q{link = #link{pid = Pid, answered_at = At} = Link, unanswered_count = Count, options = #{stall_timeout := Limit}} = Q) when Count > 0 ->
    case now_ms() - At > Limit of
        false -> Q;
        true ->
            ?WARNING_MSG("The archive answered nothing for ~B s; its connection is closed", [Limit div 1000]),
            xmpp_stream_in:close(Pid, closed),
            Q#q{link = Link#link{answered_at = now_ms()}}
    end;
check_stall(Q) -> Q.

%% What the archive asks for.

status_of(#q{log = undefined} = Q) -> {counts(Q, #{epoch => <<>>, next => 0, depth => 0, bytes => 0, oldest => none}), Q};
status_of(#q{log = Log, unanswered_count = Count, in_flight = InFlight} = Q) ->
    {Epoch, Base} = xmpp_archiver_log:epoch(Log),
    Next = xmpp_archiver_log:next(Log),
    {Oldest, Looked} = oldest(Q),
    Depth = max(0, Next - 1 - xmpp_archiver_log:acked(Log) - (Count - map_size(InFlight))),
    {counts(Q, #{epoch => Epoch, next => Next - Base, depth => Depth, bytes => xmpp_archiver_log:bytes(Log), oldest => Oldest}), Looked}.

counts(#q{counters = Counters, in_flight = InFlight} = Q, Status) ->
    Status#{in_flight => map_size(InFlight), dropped => Q#q.dropped, refused => Q#q.passed_over, errors => atomics:get(Counters, ?ERRORS)}.

%% When the oldest copy that is not answered was made.
oldest(#q{unanswered = Unanswered, log = Log} = Q) ->
    case queue:peek(Unanswered) of
        {value, {_, At}} -> {At, Q};
        empty ->
            case xmpp_archiver_log:read(Log, xmpp_archiver_log:acked(Log) + 1, 4096) of
                {_, _, [{_, At, _} | _], Read} -> {At, Q#q{log = Read}};
                {_, _, [], Read} -> {none, Q#q{log = Read}}
            end
    end.

now_ms() -> erlang:monotonic_time(millisecond).
