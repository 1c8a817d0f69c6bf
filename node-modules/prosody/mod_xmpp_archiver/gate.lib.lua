-- Mode `require`: a message goes on only after its copy is durable in the archive.
--
-- The session that sent it waits meanwhile, and nothing else does: Prosody runs each session in a thread of its own (util.async). Where there is no such
-- thread (external components, modules of the server itself) nothing can wait: such a message goes on if the archiver is there, and is refused if not.

local async = require "util.async";
local add_task = require "util.timer".add_task;
local st = require "util.stanza";

-- How often it is looked whose time is up.
local SWEEP_SECONDS = 0.5;
local CHAT_STATES = "http://jabber.org/protocol/chatstates";
local TEXT = "This message could not be recorded in the archive, as it has to be, and was not delivered. Please try again later.";

local gate = {};
local gate_mt = { __index = gate };

-- `options`: seconds (how long to wait), on_timeout ("bounce" or "deliver"), now, guard.
local function new(link, options)
	return setmetatable({ link = link, options = options, waiting = {}, first = 1, last = 0, line = {}, timeouts = 0 }, gate_mt);
end

-- Whether delivery of this has to wait: not of errors, and not of the mere news that somebody is typing.
function gate.concerns(stanza)
	if stanza.attr.type == "error" then return false; end
	for _, child in ipairs(stanza.tags) do
		if child.attr.xmlns ~= CHAT_STATES then return true; end
	end
	return false;
end

local function let_go(self, waiter, outcome)
	self.waiting[waiter.index] = nil;
	waiter.outcome = outcome;
	waiter.done();
end

-- Lets those go whose time is up. They stand in the order in which they came.
local function sweep(self)
	local now = self.options.now();
	while self.first <= self.last do
		local waiter = self.line[self.first];
		if not waiter.outcome then
			if waiter.until_time > now then break; end
			self.timeouts = self.timeouts + 1;
			let_go(self, waiter, "late");
		end
		self.line[self.first] = nil;
		self.first = self.first + 1;
	end
	if self.first > self.last then
		self.is_sweeping = false;
	else
		return SWEEP_SECONDS;
	end
end

-- Waits until the copy with this index is durable: "recorded"; "refused" or "late" if not.
function gate:wait(index)
	local options = self.options;
	local is_away = not self.link.session;
	if is_away and self.link:down_for() > options.seconds then return "late"; end
	if not async.ready() then return is_away and "late" or "recorded"; end
	local wait, done = async.waiter();
	local waiter = { index = index, done = done, until_time = options.now() + options.seconds };
	self.waiting[index] = waiter;
	self.last = self.last + 1;
	self.line[self.last] = waiter;
	if not self.is_sweeping then
		self.is_sweeping = true;
		add_task(SWEEP_SECONDS, function ()
			local ok, again = options.guard(sweep, self);
			return ok and again or nil;
		end);
	end
	wait();
	return waiter.outcome;
end

-- The archiver has answered for this copy: "recorded" or "refused".
function gate:answered(index, outcome)
	local waiter = self.waiting[index];
	if waiter then let_go(self, waiter, outcome); end
end

-- The error that its sender gets for a message that was not recorded.
function gate.refusal(stanza, host)
	return st.error_reply(stanza, "wait", "resource-constraint", TEXT, host);
end

return { new = new, concerns = gate.concerns, refusal = gate.refusal };
