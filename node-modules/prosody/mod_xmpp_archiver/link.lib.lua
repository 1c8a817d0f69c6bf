-- The way to the archiver: which copies are on it, which of them were acknowledged, and what is to go next.
--
-- While everything goes through at once, copies are sent as they come, straight from memory; but the queue has them first. When the window is full, or
-- nobody is there, copies only go into the queue, and later come back out of it, in their order. On a live stream nothing is ever sent twice: a stream
-- loses nothing. After a reconnect everything that was not acknowledged is sent again.

local add_task = require "util.timer".add_task;
local find, match, sub = string.find, string.match, string.sub;

-- A copy without an answer on so many streams on which later ones were answered is one that the archiver can't take: it is set aside.
local MAX_STRIKES = 3;

local link = {};
local link_mt = { __index = link };

local function has_room(self)
	return self.count < self.options.window and self.bytes < self.options.window_bytes;
end

local function take_off(self, index, payload, at)
	self.in_flight[index] = #payload;
	self.times[index] = at;
	if self.count == 0 then self.heard_at = self.options.now(); end
	self.count = self.count + 1;
	self.bytes = self.bytes + #payload;
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

-- `options`: wrap (makes the text of a copy with its number), result (what stands in the archiver's answer around the id), window (copies), window_bytes,
-- log, now, guard (calls a function and survives its errors), on_finished (called with the index of each copy that is acknowledged).
local function new(queue, options)
	local self;
	self = { queue = queue, options = options, in_flight = {}, times = {}, count = 0, bytes = 0, highest = 0, strikes = {}, is_live = false,
		down_since = options.now() };
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

-- The archiver has said that the copy with this id is durable. False when that is no id of ours.
function link:acknowledge(id)
	local epoch, seq = match(id, "^([%w%-]+):(%d+)$");
	local index = epoch and self.queue:index_of(epoch, tonumber(seq));
	if not index then return false; end
	local bytes = self.in_flight[index];
	if not bytes then return true; end
	self.in_flight[index], self.times[index] = nil, nil;
	self.count = self.count - 1;
	self.bytes = self.bytes - bytes;
	self.heard_at = self.options.now();
	if index > self.highest then self.highest = index; end
	self.queue:finish(index);
	self.options.on_finished(index);
	if not self.is_live then self:schedule(); end
	return true;
end

-- Takes what came over the stream if it is nothing but the answers that we wait for, in the very words of the archiver: false if it is anything else,
-- which then takes the long way through the server. One or two answers come for each message, and this is ten times cheaper.
local function take_results(self, data)
	local before, after = self.options.result[1], self.options.result[2];
	local position, ids = 1, {};
	while position <= #data do
		local id_at = position + #before;
		local quote = find(data, "'", id_at, true);
		if not quote or sub(data, position, id_at - 1) ~= before or sub(data, quote, quote + #after - 1) ~= after then return false; end
		ids[#ids + 1] = sub(data, id_at, quote - 1);
		position = quote + #after;
	end
	for i = 1, #ids do
		if not match(ids[i], "^%x+:%d+$") then return false; end
	end
	for i = 1, #ids do self:acknowledge(ids[i]); end
	return true;
end

local function shorten_way(self, session)
	local data_came = session.data;
	if not data_came then return; end
	function session.data(conn, data)
		if self.session == session then
			local ok, is_taken = self.options.guard(take_results, self, data);
			if ok and is_taken then return; end
		end
		return data_came(conn, data);
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
