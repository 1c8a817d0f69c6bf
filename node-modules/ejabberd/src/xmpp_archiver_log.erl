%% The files of the queue: an append-only log of copies in segments, on this node's disk.
%%
%% A copy has a position, which never comes twice as long as the directory exists. What the archive is told is an epoch and
%% a sequence number in it: position = base of the epoch + sequence number. A position that is skipped is a copy that was lost.
%%
%%   state                          a term: {queue, 1, NextPosition, AckedPosition, Epoch, Base, IsClean}
%%   00000000000000000001.queue     a segment, named after its first position
%%
%%   segment = <<"XMPPARCQ", 1:8, Base:64, First:64, Length:8, Epoch:Length/binary, Crc:32>>, records
%%   record  = <<Length:32, Crc:32, Position:64, At:64, Tail:Length/binary>>
%%
%% The checksum is CRC-32 of all that stands between it and the end of the record (the header's: of all before it).
%%
%% A segment is written by one start of the node only. After a clean stop the next one goes on in the same epoch; after any other end, when
%% copies that had not reached the disk may be gone, a new epoch begins, which tells the archive. A torn tail is cut. A damaged record
%% loses the rest of its segment, which the archive sees as a jump of the sequence. All functions may throw {log, Why}.
-module(xmpp_archiver_log).

-export([open/2, add/2, read/3, skip/2, ack/2, save/2, close/1]).
-export([reclaim/1, drop_oldest/1, next/1, acked/1, bytes/1, epoch/1, position/3, cut/1]).

%% A segment is full at so many bytes, or at a quarter of the disk limit if that is less.
-define(SEGMENT_BYTES, 16 * 1024 * 1024).
%% So much is read at once.
-define(READ_BYTES, 256 * 1024).
-define(MAGIC, "XMPPARCQ").
-define(RECORD_HEAD, 24).

-record(segment, {first :: pos_integer(), epoch :: binary(), base :: non_neg_integer(), file :: file:filename(), start :: pos_integer(), size :: pos_integer()}).
-record(reader, {next :: pos_integer(), first :: pos_integer(), fd :: file:fd(), offset :: pos_integer()}).
-record(log, {
    dir :: file:filename(),
    segment_bytes :: pos_integer(),
    %% Oldest first, without the one that is written.
    full = [] :: [#segment{}],
    current :: #segment{} | undefined,
    fd :: file:fd() | undefined,
    reader :: #reader{} | undefined,
    next = 1 :: pos_integer(),
    acked = 0 :: non_neg_integer(),
    epoch = <<>> :: binary(),
    base = 0 :: non_neg_integer(),
    %% Bytes of a torn tail that the last start cut off.
    cut = 0 :: non_neg_integer()
}).

%% Opens the queue of a directory, which is made if it is not there.
open(Dir, DiskLimit) ->
    must(filelib:ensure_dir(filename:join(Dir, "state"))),
    _ = file:change_mode(Dir, 8#700),
    {Segments, Cut} = segments(Dir),
    Found = lists:foldl(fun(Segment, Next) -> max(Next, Segment#segment.first) end, 1, Segments),
    {Next, Log} = resume(stored_state(Dir), last_position(Segments, Found), #log{dir = Dir, segment_bytes = min(?SEGMENT_BYTES, DiskLimit div 4), full = Segments, cut = Cut}),
    save(start_segment(Log#log{next = Next}), false).

resume({queue, 1, Next, Acked, Epoch, Base, true}, Last, Log) when Last < Next, Acked < Next ->
    {Next, Log#log{acked = Acked, epoch = Epoch, base = Base}};
resume({queue, 1, Next, Acked, _, _, _}, Last, Log) ->
    From = max(Next, Last + 1),
    {From, Log#log{acked = min(Acked, From - 1), epoch = new_epoch(), base = From - 1}};
resume(none, Last, Log) ->
    {Last + 1, Log#log{epoch = new_epoch(), base = Last}}.

%% Begins with "xa", by which the answers to our copies are told from other iqs.
new_epoch() ->
    Random = binary:decode_unsigned(crypto:strong_rand_bytes(4)),
    Text = [integer_to_binary(erlang:system_time(second), 36), integer_to_binary(Random, 36)],
    iolist_to_binary([<<"xa">>, string:lowercase(Text)]).

stored_state(Dir) ->
    case file:consult(filename:join(Dir, "state")) of
        {ok, [State]} when element(1, State) =:= queue -> State;
        _NeverWrittenOrDamaged -> none
    end.

segments(Dir) ->
    Files = lists:sort(filelib:wildcard("*.queue", Dir)),
    Known = [Segment || File <- Files, Segment <- segment(filename:join(Dir, File))],
    case lists:reverse(Known) of
        [] -> {[], 0};
        [Last | Before] ->
            End = torn_at(Last),
            Cut = Last#segment.size - End,
            Cut > 0 andalso truncate(Last#segment.file, End),
            {lists:reverse(Before, [Last#segment{size = End}]), Cut}
    end.

%% A segment whose head can't be read is kept aside.
segment(File) ->
    {ok, Fd} = must(file:open(File, [read, raw, binary])),
    Head = file:pread(Fd, 0, 512),
    _ = file:close(Fd),
    case Head of
        {ok, <<?MAGIC, 1:8, Base:64, First:64, Length:8, Epoch:Length/binary, Crc:32, _/binary>> = Read} ->
            Start = 8 + 1 + 8 + 8 + 1 + Length + 4,
            case erlang:crc32(binary:part(Read, 0, Start - 4)) of
                Crc -> [#segment{first = First, epoch = Epoch, base = Base, file = File, start = Start, size = filelib:file_size(File)}];
                _ -> set_aside(File)
            end;
        _ ->
            set_aside(File)
    end.

set_aside(File) ->
    _ = file:rename(File, File ++ ".damaged"),
    [].

%% Where the whole records end.
torn_at(#segment{file = File, start = Start, size = Size}) ->
    {ok, Fd} = must(file:open(File, [read, raw, binary])),
    End = whole_until(Fd, Start, Size),
    _ = file:close(Fd),
    End.

whole_until(Fd, Offset, Size) ->
    case records(Fd, Offset, Size) of
        {[], _} -> Offset;
        {_, Next} -> whole_until(Fd, Next, Size)
    end.

truncate(File, Size) ->
    {ok, Fd} = must(file:open(File, [read, write, raw, binary])),
    _ = must(file:position(Fd, Size)),
    _ = must(file:truncate(Fd)),
    _ = must(file:sync(Fd)),
    must(file:close(Fd)).

last_position([], _) -> 0;
last_position(Segments, First) ->
    #segment{file = File, start = Start, size = Size} = lists:last(Segments),
    {ok, Fd} = must(file:open(File, [read, raw, binary])),
    Last = last_record(Fd, Start, Size, First - 1),
    _ = file:close(Fd),
    Last.

last_record(Fd, Offset, Size, Last) ->
    case records(Fd, Offset, Size) of
        {[], _} -> Last;
        {Records, Next} -> last_record(Fd, Next, Size, element(1, lists:last(Records)))
    end.

start_segment(#log{dir = Dir, next = First, epoch = Epoch, base = Base} = Log) ->
    File = filename:join(Dir, lists:flatten(io_lib:format("~20..0b.queue", [First]))),
    Head = <<?MAGIC, 1:8, Base:64, First:64, (byte_size(Epoch)):8, Epoch/binary>>,
    Bytes = <<Head/binary, (erlang:crc32(Head)):32>>,
    {ok, Fd} = must(file:open(File, [write, raw, binary])),
    _ = file:change_mode(File, 8#600),
    _ = must(file:write(Fd, Bytes)),
    Size = byte_size(Bytes),
    Full = [Segment || Segment <- Log#log.full, Segment#segment.first =/= First],
    Log#log{fd = Fd, full = Full, current = #segment{first = First, epoch = Epoch, base = Base, file = File, start = Size, size = Size}}.

%% Writes copies {At, Tail}, makes them durable and gives them positions. When that fails the log is as before.
add(#log{current = #segment{size = Size}, segment_bytes = Most} = Log, Copies) when Size >= Most -> add(rotate(Log), Copies);
add(#log{next = First, fd = Fd, current = #segment{size = Size} = Current} = Log, Copies) ->
    {Bytes, Next} = lists:mapfoldl(fun({At, Tail}, Position) -> {record(Position, At, Tail), Position + 1} end, First, Copies),
    case write(Fd, Bytes) of
        ok -> Log#log{next = Next, current = Current#segment{size = Size + iolist_size(Bytes)}};
        {error, Why} ->
            %% Half a record must not stand before the next one.
            _ = file:position(Fd, Size),
            _ = file:truncate(Fd),
            throw({log, Why})
    end.

write(Fd, Bytes) ->
    case file:write(Fd, Bytes) of
        ok -> file:datasync(Fd);
        Error -> Error
    end.

rotate(#log{fd = Fd, full = Full, current = Current} = Log) ->
    _ = file:close(Fd),
    start_segment(Log#log{full = Full ++ [Current]}).

%% Gives back the disk of a segment that is not full, if all in it is acknowledged.
reclaim(#log{acked = Acked, next = Next, current = #segment{size = Size, start = Start}} = Log) when Acked =:= Next - 1, Size > Start ->
    #log{full = Full} = Rotated = rotate(close_reader(Log)),
    lists:foreach(fun delete/1, Full),
    Rotated#log{full = []};
reclaim(Log) -> Log.

record(Position, At, Tail) ->
    Checked = <<Position:64, At:64>>,
    Crc = erlang:crc32(erlang:crc32(Checked), Tail),
    [<<(byte_size(Tail)):32, Crc:32>>, Checked, Tail].

%% Leaves out positions: that many copies were lost.
skip(#log{next = Next} = Log, Count) -> Log#log{next = Next + Count}.

%% Copies {Position, At, Tail} from a position on, all of one epoch: {Epoch, Base, Copies, Log}. None when there are no more.
read(#log{next = Next} = Log, From, _) when From >= Next -> {<<>>, 0, [], close_reader(Log)};
read(#log{reader = #reader{next = From} = Reader} = Log, From, MaxBytes) -> read_on(Log, Reader, From, MaxBytes);
read(Log, From, MaxBytes) ->
    [#segment{first = First} = Segment | _] = [Known || Known <- lists:reverse(all(Log)), Known#segment.first =< From] ++ all(Log),
    case Log#log.reader of
        %% What was sent from memory is skipped.
        #reader{first = First, next = Next} = Reader when Next =< From -> read_on(Log, Reader, From, MaxBytes);
        _ -> read_segment(Log, Segment, From, MaxBytes)
    end.

%% A segment that somebody deleted is lost like a damaged one.
read_segment(Log, #segment{first = First, file = File, start = Start}, From, MaxBytes) ->
    Closed = close_reader(Log),
    case file:open(File, [read, raw, binary]) of
        {ok, Fd} -> read_on(Closed, #reader{next = From, first = First, fd = Fd, offset = Start}, From, MaxBytes);
        {error, enoent} -> read_after(First, Closed, From, MaxBytes);
        {error, Why} -> throw({log, Why})
    end.

read_on(Log, #reader{first = First, fd = Fd, offset = Offset} = Reader, From, MaxBytes) ->
    #segment{epoch = Epoch, base = Base, size = Size} = lists:keyfind(First, #segment.first, all(Log)),
    case records(Fd, Offset, Size, MaxBytes) of
        {[], _} -> read_next(Log#log{reader = Reader}, From, MaxBytes);
        {Records, Next} ->
            {Last, _, _} = lists:last(Records),
            Read = Log#log{reader = Reader#reader{offset = Next, next = max(From, Last + 1)}},
            case [Record || {Position, _, _} = Record <- Records, Position >= From] of
                [] -> read_on(Read, Read#log.reader, From, MaxBytes);
                Wanted -> {Epoch, Base, Wanted, Read}
            end
    end.

%% On to the next segment, if there is one: at the end of the last one the reader stays.
read_next(#log{reader = #reader{first = First} = Reader} = Log, From, MaxBytes) ->
    read_after(First, Log#log{reader = Reader#reader{next = From}}, From, MaxBytes).

read_after(First, Log, From, MaxBytes) ->
    case [Segment || Segment <- all(Log), Segment#segment.first > First] of
        [] -> {<<>>, 0, [], Log};
        [Next | _] -> read_segment(Log, Next, From, MaxBytes)
    end.

close_reader(#log{reader = undefined} = Log) -> Log;
close_reader(#log{reader = #reader{fd = Fd}} = Log) ->
    _ = file:close(Fd),
    Log#log{reader = undefined}.

records(Fd, Offset, Size) -> records(Fd, Offset, Size, ?READ_BYTES).

%% The whole and undamaged records from an offset on, and where they end.
records(_, Offset, Size, _) when Offset >= Size -> {[], Offset};
records(Fd, Offset, Size, MaxBytes) ->
    Wanted = min(Size - Offset, max(MaxBytes, ?RECORD_HEAD)),
    Bytes = case must(file:pread(Fd, Offset, Wanted)) of {ok, Read} -> Read; eof -> <<>> end,
    case {parse(Bytes, Offset, []), Bytes} of
        {{[], _}, <<Length:32, _/binary>>} when Wanted < ?RECORD_HEAD + Length, Offset + ?RECORD_HEAD + Length =< Size ->
            records(Fd, Offset, Size, ?RECORD_HEAD + Length);
        {Parsed, _} -> Parsed
    end.

parse(<<Length:32, Crc:32, Position:64, At:64, Tail:Length/binary, Rest/binary>>, Offset, Records) ->
    case erlang:crc32(erlang:crc32(<<Position:64, At:64>>), Tail) of
        Crc -> parse(Rest, Offset + ?RECORD_HEAD + Length, [{Position, At, Tail} | Records]);
        _ -> {lists:reverse(Records), Offset}
    end;
parse(_, Offset, Records) -> {lists:reverse(Records), Offset}.

%% Everything up to a position is acknowledged: segments that hold nothing else are deleted.
ack(#log{acked = Acked} = Log, Position) when Position =< Acked -> Log;
ack(#log{full = [_ | _] = Full, current = Current} = Log, Position) ->
    {Done, Left} = done(Full, Current, Position),
    Closed = case Done of [] -> Log; _ -> close_reader_of(Log, Done) end,
    lists:foreach(fun delete/1, Done),
    Closed#log{full = Left, acked = Position};
ack(Log, Position) -> Log#log{acked = Position}.

done([Segment | [#segment{first = Next} | _] = Rest], Current, Position) when Next - 1 =< Position ->
    {Done, Left} = done(Rest, Current, Position),
    {[Segment | Done], Left};
done([Segment], #segment{first = Next}, Position) when Next - 1 =< Position -> {[Segment], []};
done(Left, _, _) -> {[], Left}.

close_reader_of(#log{reader = #reader{first = First}} = Log, Segments) ->
    case lists:keymember(First, #segment.first, Segments) of
        true -> close_reader(Log);
        false -> Log
    end;
close_reader_of(Log, _) -> Log.

delete(#segment{file = File}) ->
    case file:delete(File) of
        {error, Why} when Why =/= enoent -> throw({log, Why});
        _ -> ok
    end.

%% Makes room by giving up the oldest segment: {the last position given up, Log}; none when there is only the one that is written.
drop_oldest(#log{full = []}) -> none;
drop_oldest(#log{full = [Oldest | Rest], current = Current} = Log) ->
    [#segment{first = Next} | _] = Rest ++ [Current],
    Closed = close_reader_of(Log, [Oldest]),
    delete(Oldest),
    {Next - 1, Closed#log{full = Rest, acked = max(Log#log.acked, Next - 1)}}.

%% Writes down how far the archive has acknowledged. Clean: nothing is added any more.
save(#log{dir = Dir, next = Next, acked = Acked, epoch = Epoch, base = Base} = Log, IsClean) ->
    File = filename:join(Dir, "state"),
    {ok, Fd} = must(file:open(File ++ ".new", [write, raw, binary])),
    _ = must(file:write(Fd, io_lib:format("~p.~n", [{queue, 1, Next, Acked, Epoch, Base, IsClean}]))),
    _ = must(file:datasync(Fd)),
    _ = file:close(Fd),
    _ = must(file:rename(File ++ ".new", File)),
    Log.

close(Log) ->
    save(Log, true),
    _ = close_reader(Log),
    file:close(Log#log.fd).

all(#log{full = Full, current = Current}) -> Full ++ [Current].

next(#log{next = Next}) -> Next.
acked(#log{acked = Acked}) -> Acked.
cut(#log{cut = Cut}) -> Cut.
bytes(Log) -> lists:sum([Size || #segment{size = Size} <- all(Log)]).

%% What new copies are numbered by.
epoch(#log{epoch = Epoch, base = Base}) -> {Epoch, Base}.

%% The position of what the archive knows by epoch and sequence number.
position(#log{epoch = Epoch, base = Base}, Epoch, Seq) -> Base + Seq;
position(Log, Epoch, Seq) ->
    case lists:keyfind(Epoch, #segment.epoch, all(Log)) of
        #segment{base = Base} -> Base + Seq;
        false -> unknown
    end.

must({error, Why}) -> throw({log, Why});
must(Fine) -> Fine.
