-- The disk queue: every copy stays in it until the archiver has said that it is durable there.
--
-- Copies are counted by an index that only grows. A segment file holds a run of records of one epoch; its first line names the epoch and the number to
-- which a record's `seq` is added to give its index. A record is one line, "@SEQ LENGTH CHECKSUM", the copy as it goes over the wire, and a newline.
-- Segments are only appended to, and deleted when all of their records are finished. A file `state` says from time to time how far everything is; after
-- a crash it may be a moment behind, and then a few records are sent again, which the archiver tells by their numbers.
--
-- A start never writes to a segment that was there before: a record that was cut off at the end of one is just left out. It had not been sent: what is
-- sent has been given to the operating system before. Where that is not enough (the machine itself went down, the last record is damaged, files or the
-- state are gone) numbers may have been used that are no longer known, and a new epoch begins.

local lfs = require "lfs";
local sha1 = require "util.hashes".sha1;

local max = math.max;
local format, match, find, sub = string.format, string.match, string.find, string.sub;
local t_insert, t_remove, t_sort = table.insert, table.remove, table.sort;

local HEADER = "xmpp-archiver-queue 1 %s %d\n";
local HEADER_PATTERN = "^xmpp%-archiver%-queue 1 ([%w%-]+) (%d+)$";
local RECORD_PATTERN = "^@(%d+) (%d+) (%x+)$";
local CHECKSUM_CHARACTERS = 16;
local FILE_BUFFER_BYTES = 128 * 1024;
-- A longer record is not believed: no server takes stanzas of that size.
local MAX_RECORD_BYTES = 64 * 1024 * 1024;

local queue = {};
local queue_mt = { __index = queue };

-- The number need not go into it: it stands in the payload, too.
local function checksum(payload)
	return sub(sha1(payload, true), 1, CHECKSUM_CHARACTERS);
end

local function read_file(path)
	local file = io.open(path, "rb");
	if not file then return nil; end
	local data = file:read("*a");
	file:close();
	return data;
end

-- Differs after each start of the machine, where the system tells; a machine that went down may have lost what it had not yet written to the disk.
local function boot_id()
	local id = read_file("/proc/sys/kernel/random/boot_id");
	return id and match(id, "[%w%-]+") or "unknown";
end

-- Takes one record apart; nil when there is none, with "torn" when the data end before it does.
local function record_at(data, position)
	local line_end = find(data, "\n", position, true);
	if not line_end then return nil, "torn"; end
	local seq, length, sum = match(sub(data, position, line_end - 1), RECORD_PATTERN);
	if not seq or tonumber(length) > MAX_RECORD_BYTES then return nil, "damaged"; end
	local payload = sub(data, line_end + 1, line_end + tonumber(length));
	if #data < line_end + tonumber(length) + 1 then return nil, "torn"; end
	if checksum(payload) ~= sum then return nil, "damaged"; end
	return tonumber(seq), payload, line_end + tonumber(length) + 2;
end

-- The next whole record at or after a position.
local function next_record(data, position)
	while position do
		local seq, payload, after = record_at(data, position);
		if seq then return seq, payload, after; end
		local newline = find(data, "\n@", position, true);
		position = newline and newline + 1;
	end
end

-- What a segment's first line says.
local function describe(directory, name)
	local path = directory .. "/" .. name;
	local file = io.open(path, "rb");
	if not file then return nil; end
	local line = file:read("*l");
	file:close();
	local epoch, base = match(line or "", HEADER_PATTERN);
	if not epoch then return nil; end
	local bytes = lfs.attributes(path, "size") or 0;
	return { path = path, epoch = epoch, base = tonumber(base), first = tonumber(match(name, "^%d+")), bytes = bytes, start = #line + 1 };
end

local function list_segments(directory)
	local segments, unreadable = {}, 0;
	for name in lfs.dir(directory) do
		if match(name, "^%d+%.queue$") then
			local segment = describe(directory, name);
			if segment then t_insert(segments, segment); else unreadable = unreadable + 1; end
		end
	end
	t_sort(segments, function (one, other) return one.first < other.first; end);
	for i = 1, #segments - 1 do
		segments[i].last = segments[i + 1].first - 1;
	end
	return segments, unreadable;
end

-- The index of a segment's last record, and whether its end is sound, but for a record that was cut off there.
local function scan(segment)
	local data = read_file(segment.path) or "";
	local last, position = segment.first - 1, segment.start + 1;
	while position <= #data do
		local seq, problem, after = record_at(data, position);
		if not seq then
			local found, _, after_found = next_record(data, position + 1);
			if not found then return last, problem == "torn"; end
			seq, after = found, after_found;
		end
		last, position = segment.base + seq, after;
	end
	return last, true;
end

local function read_state(directory)
	local line = read_file(directory .. "/state") or "";
	local epoch, base, done, last, dropped, boot, how = match(line, "^1 ([%w%-]+) (%d+) (%d+) (%d+) (%d+) ([%w%-]+) (%l+)\n$");
	if not epoch then return nil; end
	return { epoch = epoch, base = tonumber(base), done = tonumber(done), last = tonumber(last), dropped = tonumber(dropped),
		boot = boot, is_clean = how == "clean", is_dropping = how == "dropping" };
end

-- Why the epoch can't go on, if so.
local function broken(state, segments, unreadable, last, is_sound)
	if not state then return #segments + unreadable > 0 and "its state is gone" or "it is new"; end
	if unreadable > 0 then return "a segment can't be read"; end
	if not is_sound then return "its end is damaged"; end
	if state.boot ~= boot_id() and not state.is_clean then return "the machine went down"; end
	if state.is_dropping then return "copies were being dropped when it ended"; end
	if last < state.last and state.last > state.done then return "records are missing"; end
end

-- Opens the queue in a directory. `options`: limit_bytes, segment_bytes, drop_oldest, new_epoch (a function), log.
local function open(directory, options)
	lfs.mkdir(directory);
	if lfs.attributes(directory, "mode") ~= "directory" then return nil, "no directory " .. directory; end
	local self = setmetatable({ directory = directory, options = options, ahead = {}, ahead_count = 0, holes = {}, hole_count = 0, bases = {}, boot = boot_id() }, queue_mt);
	local state = read_state(directory);
	local unreadable;
	self.segments, unreadable = list_segments(directory);
	local newest = self.segments[#self.segments];
	local last, is_sound = 0, true;
	if newest then
		last, is_sound = scan(newest);
		newest.last = last;
		if last < newest.first then
			os.remove(newest.path);
			t_remove(self.segments);
		end
	end
	local why = broken(state, self.segments, unreadable, last, is_sound);
	self.last = max(last, state and state.last or 0);
	self.dropped = state and state.dropped or 0;
	self.done = state and state.done or 0;
	if self.segments[1] and self.done < self.segments[1].first - 1 then
		self.done = self.segments[1].first - 1;
	elseif not self.segments[1] then
		self.dropped = self.dropped + max(self.last - self.done, 0);
		self.done = self.last;
	end
	self.epoch, self.base = state and state.epoch, state and state.base;
	self.bytes = 0;
	for _, segment in ipairs(self.segments) do
		self.bytes = self.bytes + segment.bytes;
		self.bases[segment.epoch] = segment.base;
	end
	if why then
		self:begin_epoch();
		options.log("info", "a new epoch of the queue, %s: %s", self.epoch, why);
	end
	self.bases[self.epoch] = self.base;
	self:drop_finished();
	self:rewind();
	self:save_state("open");
	return self;
end

function queue:begin_epoch()
	self.epoch = self.options.new_epoch();
	self.base = self.last;
	self.bases[self.epoch] = self.base;
	self:close_segment();
end

function queue:save_state(how)
	local path = self.directory .. "/state";
	local file = io.open(path .. ".new", "wb");
	if not file then return false; end
	file:write(format("1 %s %d %d %d %d %s %s\n", self.epoch, self.base, self.done, self.last, self.dropped, self.boot, how));
	file:close();
	self.saved_done, self.saved_last = self.done, self.last;
	return os.rename(path .. ".new", path);
end

-- What is said of the queue while it is open. Numbers of copies that are dropped stand in no segment: should the process be killed before they are saved,
-- nobody would know that they are used.
local function how_it_is(self)
	return self.is_dropping and "dropping" or "open";
end

-- Saves the state if it has changed.
function queue:save_progress()
	local was_dropping = self.is_dropping;
	self.is_dropping, self.has_dropped = self.has_dropped, false;
	if self.saved_done ~= self.done or self.saved_last ~= self.last or was_dropping then
		self:save_state(how_it_is(self));
	end
end

function queue:close()
	self:close_segment();
	self:rewind();
	self:save_state("clean");
end

-- How many copies are in it.
function queue:depth()
	return self.last - self.done - self.ahead_count - self.hole_count;
end

function queue:index_of(epoch, seq)
	local base = self.bases[epoch];
	return base and base + seq;
end

-- The number of the copy that comes next.
function queue:next_seq()
	return self.last - self.base + 1;
end

local function open_segment(self)
	local first = self.last + 1;
	local path = format("%s/%016d.queue", self.directory, first);
	local file, err = io.open(path, "ab");
	if not file then return nil, err; end
	file:setvbuf("full", FILE_BUFFER_BYTES);
	local header = format(HEADER, self.epoch, self.base);
	file:write(header);
	self.file = file;
	self.active = { path = path, epoch = self.epoch, base = self.base, first = first, bytes = #header, start = #header };
	self.bytes = self.bytes + #header;
	t_insert(self.segments, self.active);
	return file;
end

function queue:close_segment()
	if self.file then
		self.file:close();
		self.file = nil;
		self.active.last = self.last;
		self.active = nil;
	end
end

local function delete_segment(self, position)
	local segment = t_remove(self.segments, position);
	self.bytes = self.bytes - segment.bytes;
	if self.reading == segment then
		self.reader:close();
		self.reader, self.reading = nil, nil;
	end
	os.remove(segment.path);
end

-- Numbers that were used up for copies that could not be kept: as ranges, since there may be millions.
local function add_hole(self, index)
	if self.done == index - 1 then
		self.done = index;
		return;
	end
	local newest = self.holes[#self.holes];
	if newest and newest.to == index - 1 then newest.to = index; else t_insert(self.holes, { from = index, to = index }); end
	self.hole_count = self.hole_count + 1;
end

local function hole_at(self, index)
	for _, hole in ipairs(self.holes) do
		if hole.from <= index and index <= hole.to then return hole; end
	end
end

-- Makes room as the policy says; false when there is none.
local function make_room(self, bytes)
	while self.bytes + bytes > self.options.limit_bytes do
		local oldest = self.segments[1];
		if not self.options.drop_oldest or not oldest or oldest == self.active then return false; end
		local lost = 0;
		for index = max(self.done + 1, oldest.first), oldest.last do
			if not self:is_finished(index) then lost = lost + 1; end
		end
		self.dropped = self.dropped + lost;
		self:finish_up_to(oldest.last);
	end
	return true;
end

-- Takes the copy with the number `next_seq` gave; nil when it can't be kept. The number is used up in any case, so that the archiver sees the loss.
function queue:append(payload)
	local seq = self:next_seq();
	local record = format("@%d %d %s\n", seq, #payload, checksum(payload));
	local bytes = #record + #payload + 1;
	if self.active and self.active.bytes + bytes > self.options.segment_bytes then self:close_segment(); end
	local index = self.last + 1;
	local ok, err = make_room(self, bytes), "full";
	if ok then
		ok, err = self.file or open_segment(self);
	end
	self.last = index;
	if ok then
		ok, err = self.file:write(record, payload, "\n");
		-- In the hands of the operating system before anything else happens with the message: nothing that ends this process alone takes it away.
		if ok then ok, err = self.file:flush(); end
	end
	if not ok then
		self.dropped = self.dropped + 1;
		if err ~= "full" then self:close_segment(); end
		add_hole(self, index);
		self.has_dropped = true;
		if not self.is_dropping then
			self.is_dropping = true;
			self:save_state("dropping");
		end
		return nil, err;
	end
	local position = self.active.bytes;
	self.active.bytes = position + bytes;
	self.bytes = self.bytes + bytes;
	return index, position;
end

-- Goes on over what is finished already.
local function advance(self)
	local done, ahead, hole = self.done, self.ahead, self.holes[1];
	while ahead[done + 1] or hole and hole.from <= done + 1 do
		if hole and hole.from <= done + 1 then
			done = max(done, hole.to);
			self.hole_count = self.hole_count - (hole.to - hole.from + 1);
			t_remove(self.holes, 1);
			hole = self.holes[1];
		else
			done = done + 1;
			ahead[done] = nil;
			self.ahead_count = self.ahead_count - 1;
		end
	end
	self.done = done;
end

-- Deletes segments of which nothing is needed any more.
function queue:drop_finished()
	if self.active and self.done >= self.last and self.active.bytes > self.options.segment_bytes / 8 then self:close_segment(); end
	local oldest = self.segments[1];
	-- What the segments no longer say the state must: which numbers are used.
	if oldest and oldest ~= self.active and oldest.last <= self.done then self:save_progress(); end
	while oldest and oldest ~= self.active and oldest.last <= self.done do
		delete_segment(self, 1);
		oldest = self.segments[1];
	end
end

-- A copy is durable at the archiver, or given up.
function queue:finish(index)
	if index == self.done + 1 then
		self.done = index;
		if self.ahead_count > 0 or self.hole_count > 0 then advance(self); end
		local oldest = self.segments[1];
		if oldest and (oldest.last or self.last) <= self.done then self:drop_finished(); end
	elseif index <= self.last and not self:is_finished(index) then
		self.ahead[index] = true;
		self.ahead_count = self.ahead_count + 1;
	end
end

function queue:finish_up_to(index)
	for finished = self.done + 1, index do
		if self.ahead[finished] then
			self.ahead[finished] = nil;
			self.ahead_count = self.ahead_count - 1;
		end
	end
	self.done = max(self.done, index);
	advance(self);
	self:drop_finished();
end

function queue:is_finished(index)
	return index <= self.done or self.ahead[index] == true or self.hole_count > 0 and hole_at(self, index) ~= nil;
end

local function stop_reading(self)
	if self.reader then self.reader:close(); end
	self.reader, self.reading = nil, nil;
end

-- Reading begins anew with the first copy that is not finished.
function queue:rewind()
	stop_reading(self);
	self.next_index, self.entry = self.done + 1, nil;
end

-- Reading goes on with the copy that was appended last, at this position of the segment that is written to.
function queue:read_on_from(index, position)
	stop_reading(self);
	self.next_index, self.entry = index, { segment = self.active, position = position };
end

-- Opens the segment in which the next record to be read is.
local function reading_segment(self)
	if self.reader then return self.reading; end
	for _, segment in ipairs(self.segments) do
		if (segment.last or self.last) >= self.next_index then
			local reader, err = io.open(segment.path, "rb");
			if not reader then
				self.options.log("error", "%s can't be read: %s", segment.path, err);
				return nil, segment;
			end
			reader:setvbuf("full", FILE_BUFFER_BYTES);
			self.reader, self.reading = reader, segment;
			local entry = self.entry;
			self.read_at = entry and entry.segment == segment and entry.position or segment.start;
			reader:seek("set", self.read_at);
			self.entry = nil;
			return segment;
		end
	end
end

-- After damage: the next sound record of the segment that is being read.
local function resynchronise(self, position)
	self.reader:seek("set", position);
	local data = self.reader:read("*a") or "";
	local seq, payload, after = next_record(data, 1);
	if seq then
		self.read_at = position + after - 1;
		self.reader:seek("set", self.read_at);
	end
	return seq, payload;
end

local function read_record(self)
	local position = self.read_at;
	local line = self.reader:read("*l");
	if not line then return nil; end
	local seq, length, sum = match(line, RECORD_PATTERN);
	if seq and tonumber(length) <= MAX_RECORD_BYTES then
		local payload, newline = self.reader:read(tonumber(length), 1);
		if payload and newline == "\n" and checksum(payload) == sum then
			self.read_at = position + #line + #payload + 2;
			return tonumber(seq), payload;
		end
	end
	return resynchronise(self, position);
end

-- The next copy, index and payload; nil at the end of the queue. What is missing on the way was lost, and is finished.
function queue:read()
	self.next_index = max(self.next_index, self.done + 1);
	while self.next_index <= self.last do
		local segment, unreadable = reading_segment(self);
		if not segment then
			local upto = unreadable and (unreadable.last or self.last) or self.last;
			self:give_up(self.next_index, upto);
			self.next_index = upto + 1;
		else
			local seq, payload = read_record(self);
			local index = seq and segment.base + seq;
			if not index then
				if segment == self.active then return nil; end
				stop_reading(self);
				self:give_up(self.next_index, segment.last);
				self.next_index = segment.last + 1;
			elseif index >= self.next_index then
				if index > self.next_index then self:give_up(self.next_index, index - 1); end
				self.next_index = index + 1;
				return index, payload;
			end
		end
	end
end

-- Records that are not in their segments: dropped when the queue was full, which is counted already, or damaged.
function queue:give_up(from, to)
	local lost, index = 0, max(from, self.done + 1);
	while index <= to do
		local hole = hole_at(self, index);
		if hole then
			index = hole.to;
		elseif not self:is_finished(index) then
			lost = lost + 1;
			self:finish(index);
		end
		index = index + 1;
	end
	if lost > 0 then
		self.dropped = self.dropped + lost;
		self.options.log("error", "%d copies can't be read from the queue and are lost", lost);
	end
end

-- Takes a copy out of the queue that the archiver does not take, and keeps it in a file of its own.
function queue:set_aside(index)
	if self:is_finished(index) then return; end
	for _, segment in ipairs(self.segments) do
		if segment.first <= index and index <= (segment.last or self.last) then
			local data = read_file(segment.path) or "";
			local seq, payload, after = next_record(data, segment.start + 1);
			while seq and segment.base + seq < index do
				seq, payload, after = next_record(data, after);
			end
			local file = seq and segment.base + seq == index and io.open(self.directory .. "/refused", "ab");
			if file then
				file:write(payload, "\n");
				file:close();
			end
		end
	end
	self.dropped = self.dropped + 1;
	self:finish(index);
end

return { open = open };
