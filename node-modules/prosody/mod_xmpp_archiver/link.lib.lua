-- The way to the archiver: which copies are on it, which of them were acknowledged, and what is to go next.
--
-- While everything goes through at once, copies are sent as they come, straight from memory; but the queue has them first. When the window is full, or
-- nobody is there, copies only go into the queue, and later come back out of it, in their order. On a live stream nothing is ever sent twice: a stream
-- loses nothing. After a reconnect everything that was not acknowledged is sent again.

local add_task = require "util.timer".add_task;
local match, sub = string.match, string.sub;

-- A copy without an answer on so many streams on which later ones were answered is one that the archiver can't take: it is set aside.
local MAX_STRIKES = 3;
-- What looks like the start of a tag and is longer than this is none of ours.
local MAX_TAG_BYTES = 1024;
-- What waits on the disk goes on when this part of the window is free, so that it goes in large pieces.
local REFILL_PART = 16;

local link = {};
local link_mt = { __index = link };

local function has_room(self)
	return self.count < self.options.window and self.bytes < self.options.window_bytes;
end

local function take_off(self, index, payload, at)
	local size, count = #payload, self.count;
	self.in_flight[index] = size;
	self.times[index] = at;
	if count == 0 then self.heard_at = self.options.now(); end
	self.count = count + 1;
	self.bytes = self.bytes + size;
	-- The server joins what is sent in one round of its loop.
	self.session.send(payload);
end

-- Sends what is in the queue, as far as the window allows.
local function pump(self)
	local queue = self.queue;
	while not self.is_live and has_room(self) do
		local index, payload = queue:read();
		if not index then
			self.is_live = true;
		elseif not queue:is_finished(index) then
			take_off(self, index, payload, match(payload, " at='([^']*)'"));
		end
	end
end

local function round(self)
	self.is_scheduled = false;
	if self.session then pump(self); end
end

-- `options`: wrap (makes the text of a copy with its number), result_pattern (what an answer of the archiver looks like), window (copies), window_bytes,
-- log, now, guard (calls a function and survives its errors), on_finished (called with the index of each copy that is acknowledged), on_refused (with
-- that of each that the archiver does not take).
local function new(queue, options)
	local self;
	self = { queue = queue, options = options, in_flight = {}, times = {}, count = 0, bytes = 0, highest = 0, strikes = {}, is_live = false,
		answers = {}, down_since = options.now() };
	self.run = function () options.guard(round, self); end;
	return setmetatable(self, link_mt);
end

function link:schedule()
	if not self.is_scheduled then
		self.is_scheduled = true;
		add_task(0, self.run);
	end
end

-- Queues one copy; its index, or nil and why not.
function link:push(copy)
	local queue = self.queue;
	local payload = self.options.wrap(copy, queue.epoch, queue:next_seq());
	local index, position = queue:append(payload);
	if not index then return nil, position; end
	if self.is_live then
		if has_room(self) then
			take_off(self, index, payload, copy.at);
		else
			self.is_live = false;
			queue:read_on_from(index, position);
		end
	end
	return index;
end

-- Takes a copy off the window; false if it is not on its way.
local function settle(self, index)
	local bytes = self.in_flight[index];
	if not bytes then return false; end
	self.in_flight[index], self.times[index] = nil, nil;
	self.count = self.count - 1;
	self.bytes = self.bytes - bytes;
	if index > self.highest then self.highest = index; end
	return true;
end

-- The archiver has said that a copy is durable. False when that is none of ours.
local function acknowledge(self, epoch, seq)
	local index = self.queue:index_of(epoch, tonumber(seq));
	if not index then return false; end
	if settle(self, index) then
		self.queue:finish(index);
		self.options.on_finished(index);
	end
	return true;
end

-- The archiver has said that it does not take a copy, and would not the next time. False when that is none of ours.
local function refuse(self, epoch, seq)
	local index = self.queue:index_of(epoch, tonumber(seq));
	if not index then return false; end
	if settle(self, index) then
		self.queue:set_aside(index);
		self.options.on_refused(index);
		self.options.log("error", "the archiver does not take a copy, which is set aside: index %d", index);
	end
	return true;
end

-- Answers make room: what waits on the disk goes on.
local function go_on(self)
	self.heard_at = self.options.now();
	local window = self.options.window;
	if not self.is_live and window - self.count >= window / REFILL_PART then pump(self); end
end

-- The archiver has answered with this id: the copy is durable, or refused. False when that is no id of ours.
function link:answered(id, is_refused)
	local epoch, seq = match(id, "^([%w%-]+):(%d+)$");
	if not epoch or not (is_refused and refuse or acknowledge)(self, epoch, seq) then return false; end
	go_on(self);
	return true;
end

-- Takes the answers that we wait for, in the very words of the archiver, out of what came over the stream, as far as there is nothing else before them.
-- Says what is left for the server, if anything, and what is not a whole tag yet: a chunk mostly ends in the middle of an answer. One or two answers come
-- for each message, and this is ten times cheaper than the way through the server.
local function take_results(self, data)
	local pattern, answers, count, position = self.options.result_pattern, self.answers, 0, 1;
	local epoch, seq, after = match(data, pattern);
	while epoch do
		answers[count + 1], answers[count + 2], position = epoch, seq, after;
		count = count + 2;
		epoch, seq, after = match(data, pattern, position);
	end
	for i = 1, count, 2 do
		if not acknowledge(self, answers[i], answers[i + 1]) then self.options.log("debug", "an answer to a copy of an unknown epoch"); end
	end
	if count > 0 then go_on(self); end
	if position > #data then return nil, ""; end
	local cut = match(data, "()<[^<>]*$", position);
	if not cut or #data - cut > MAX_TAG_BYTES then cut = #data + 1; end
	return cut > position and sub(data, position, cut - 1) or nil, sub(data, cut);
end

local function shorten_way(self, session)
	local data_came, started = session.data, "";
	if not data_came then return; end
	function session.data(conn, data)
		if started ~= "" then data, started = started .. data, ""; end
		if self.session == session then
			local ok, left, unfinished = self.options.guard(take_results, self, data);
			if ok then data, started = left, unfinished; end
		end
		if data then return data_came(conn, data); end
	end
end

function link:connected(session)
	if self.session then self:disconnected(); end
	shorten_way(self, session);
	self.session, self.down_since, self.heard_at = session, nil, self.options.now();
	self.options.log("info", "the archiver is here; %d copies are waiting for it", self.queue:depth());
	self:schedule();
end

-- Sets copies aside that never get an answer, so that they do not keep all that follows on the disk for ever.
local function strike(self)
	for index in pairs(self.in_flight) do
		if index < self.highest then
			self.strikes[index] = (self.strikes[index] or 0) + 1;
			if self.strikes[index] >= MAX_STRIKES then
				self.strikes[index] = nil;
				self.queue:set_aside(index);
				self.options.log("error", "the archiver took copies after it but never this one, which is set aside: index %d", index);
			end
		end
	end
end

function link:disconnected()
	if not self.session then return; end
	self.session, self.is_live, self.down_since = nil, false, self.options.now();
	strike(self);
	self.in_flight, self.times, self.count, self.bytes, self.highest = {}, {}, 0, 0, 0;
	self.queue:rewind();
end

-- Closes a stream on which copies are under way and no answer has come for too long: the other end may be gone without a word.
function link:check_stall(seconds)
	if self.session and self.count > 0 and self.options.now() - self.heard_at > seconds then
		self.options.log("warn", "the archiver has not answered for %d s; closing its stream", seconds);
		self.session:close();
	end
end

-- When the node handled the first copy that is not finished, if that is on its way.
function link:oldest()
	return self.times[self.queue.done + 1];
end

-- For how many seconds nobody has been there.
function link:down_for()
	return self.down_since and self.options.now() - self.down_since or 0;
end

return { new = new };
