-- Mirrors messages to an xmpp-archiver, through a queue on disk from which nothing goes before the archiver has it.
--
-- This file reads the options, hooks what passes through the server and puts the parts together: `envelope` makes a copy, `queue` keeps it, `link` takes it
-- to the archiver and hears what came of it, `gate` lets messages wait for that in mode `require`, `rooms` knows what is special in rooms.
-- Every hook is guarded: an error in it is logged and counted, and the message goes its way. No text of a message is ever logged.

module:set_global();

local configuration = require "core.configmanager";
local jid_bare = require "util.jid".bare;
local jid_host = require "util.jid".host;
local random_hex = require "util.hex".to;
local random_bytes = require "util.random".bytes;
local st = require "util.stanza";
local time_now = require "util.time".now;
local xpcall = require "util.xpcall".xpcall;

local hosts, full_sessions = prosody.hosts, prosody.full_sessions;
local find, match, traceback = string.find, string.match, debug.traceback;

local envelope = module:require "envelope";
local open_queue = module:require "queue".open;
local new_link = module:require "link".new;
local gates = module:require "gate";
local rooms = module:require "rooms";

local VERSION = "0.1.0";
-- Just after mod_mam, so that a copy has the id that the archive on the node gave it.
local AFTER_ARCHIVE = -0.9;
-- Before it, for what must not get into anybody's archive on the node unless it is recorded.
local BEFORE_ARCHIVE = 5;
local SAVE_SECONDS = 1;
local MIB = 1024 * 1024;

-- Options.

local component = module:get_option_string("xmpp_archiver_component");
if not component then error("xmpp_archiver_component is not set: it names the Component that the archiver connects as", 0); end

local function choice(name, default, ...)
	local chosen = module:get_option_string(name, default);
	for _, allowed in ipairs{ ... } do
		if chosen == allowed then return chosen; end
	end
	error(("%s can't be %q: it is one of %s"):format(name, chosen, table.concat({ ... }, ", ")), 0);
end

local mode = choice("xmpp_archiver_mode", "observe", "observe", "require");
local on_timeout = choice("xmpp_archiver_on_timeout", "bounce", "bounce", "deliver");
local when_full = choice("xmpp_archiver_when_full", "drop-new", "drop-new", "drop-oldest", "bounce");
local must_record = mode == "require";

-- Guards.

local errors = 0;

local function on_error(err)
	errors = errors + 1;
	module:log("error", "An error in the mirror (number %d); the message itself is not affected: %s", errors, traceback(tostring(err), 2));
end

-- Calls a function; false if it failed.
local function guard(f, ...)
	return xpcall(f, on_error, ...);
end

local function guarded(_, handler)
	return function (event)
		guard(handler, event);
	end;
end

-- The parts.

local function log(...) module:log(...); end

-- The domain in whose name everything is mirrored.
local function home()
	local name = module:get_option_string("xmpp_archiver_host");
	if name then return name; end
	local names = {};
	for host, settings in pairs(configuration.getconfig()) do
		if host ~= "*" and not settings.component_module and settings.enabled ~= false then names[#names + 1] = host; end
	end
	table.sort(names);
	return names[1] or error("there is no VirtualHost: set xmpp_archiver_host", 0);
end

local queue, link, gate;
local notes = setmetatable({}, { __mode = "k" });
local ref_prefix, ref_count = random_hex(random_bytes(6)), 0;

local function fresh_ref()
	ref_count = ref_count + 1;
	return ref_prefix .. "-" .. ref_count;
end

-- Nothing to or from the archiver is ever mirrored.
local function concerns_archiver(stanza)
	local from, to = stanza.attr.from, stanza.attr.to;
	return to and find(to, component, 1, true) and jid_host(to) == component
		or from and find(from, component, 1, true) and jid_host(from) == component;
end

-- Queues a copy: its index, or nil and why not. `copy`: stanza, direction, and where known session, ref, ids_by, occupants.
local function capture(copy)
	copy.at = envelope.stamp();
	if copy.ids_by then copy.ids = envelope.stanza_ids(copy.stanza, copy.ids_by); end
	return link:push(copy);
end

-- Hooks.

-- Whose archive on this node gives ids to what a room sends.
local function room_ids_by(host, stanza)
	return hosts[host] and hosts[host].modules.muc_mam and jid_bare(stanza.attr.from) or nil;
end

-- Whether somebody outside this server sent it, who can be told that it was refused.
local function is_refusable(event)
	local origin = event.origin;
	local is_sender = origin.type == "c2s" or origin.type == "s2sin" or origin.type == "component" and origin.conn;
	return is_sender and event.stanza.attr.type ~= "error";
end

local function bounce(event)
	local stanza, origin = event.stanza, event.origin;
	local refusal = gates.refusal(stanza, hosts[origin.host or ""] and origin.host or nil);
	origin.send(refusal);
	if origin.type == "c2s" then
		-- An error that the server gives to its own user passes no hook; the archive is to know that the message did not arrive.
		refusal.attr.to = origin.full_jid;
		refusal.attr.from = refusal.attr.from or origin.username .. "@" .. origin.host;
		guard(capture, { stanza = refusal, direction = "received", session = origin.full_jid });
	end
	return true;
end

-- Whether the message goes on, which in mode `require` is known only after a while.
local function is_let_through(event, ok, index, why)
	if why == "full" and when_full == "bounce" and is_refusable(event) then return false; end
	if not must_record or not gates.concerns(event.stanza) or not is_refusable(event) then return true; end
	local is_recorded = ok and index and gate:wait(index) == "recorded";
	return is_recorded or on_timeout == "deliver";
end

-- A handler that mirrors a message for which delivery may have to wait. `handler` returns whether this is such a message, and what `capture` said;
-- `go_on` is called when the message goes on.
local function gated(_, handler, go_on)
	return function (event)
		local ok, is_mirrored, index, why = guard(handler, event);
		if (not ok or is_mirrored) and not is_let_through(event, ok, index, why) then return bounce(event); end
		if go_on then guard(go_on, event); end
	end;
end

local mirror = { capture = capture, concerns_archiver = concerns_archiver, envelope = envelope, fresh_ref = fresh_ref, gated = gated, guard = guard,
	guarded = guarded, notes = notes, room_ids_by = room_ids_by };

-- From a session of this server.
local function on_sent(event)
	local stanza, origin = event.stanza, event.origin;
	if concerns_archiver(stanza) then return; end
	local ref = fresh_ref();
	event.xmpp_archiver_ref = ref;
	local ids_by = not event.to_self and hosts[origin.host].modules.mam and origin.username .. "@" .. origin.host or nil;
	return true, capture{ stanza = stanza, direction = "sent", session = origin.full_jid, ref = ref, ids_by = ids_by };
end

-- What somebody elsewhere sends to one person is one message, and this is its only copy. What a room elsewhere sends, or sends again, is not.
local function is_single(stanza)
	return stanza.attr.type ~= "groupchat" and not stanza:get_child("delay", "urn:xmpp:delay");
end

local function received_ref(event)
	local origin = event.origin;
	local ref = event.xmpp_archiver_ref or event.xmpp_archiver_note;
	if not ref and (origin.type == "s2sin" or origin.conn) and origin.type ~= "c2s" and is_single(event.stanza) then return fresh_ref(); end
	return ref;
end

-- Who on this node gives ids to what comes to one of its accounts.
local function received_ids_by(event)
	local origin, to = event.origin, event.stanza.attr.to;
	if origin.type == "component" and not origin.conn then return room_ids_by(origin.host, event.stanza); end
	if not to or event.to_self then return nil; end
	local bare = match(to, "^[^/]+");
	local host = hosts[match(bare, "[^@]+$")];
	return host and host.modules.mam and bare or nil;
end

-- To an account of this server.
local function on_received(event)
	local stanza = event.stanza;
	if event.xmpp_archiver_is_mirrored or concerns_archiver(stanza) then return; end
	local to = stanza.attr.to;
	event.xmpp_archiver_is_mirrored = true;
	return not event.xmpp_archiver_ref, capture{ stanza = stanza, direction = "received", session = to and full_sessions[to] and to or nil,
		ref = received_ref(event), ids_by = received_ids_by(event) };
end

-- A message that comes in from elsewhere must be recorded before mod_mam gives it to its recipient's archive.
local function is_from_elsewhere(event)
	return event.origin.type == "s2sin" or event.origin.type == "component" and event.origin.conn;
end

local function on_received_early(event)
	if is_from_elsewhere(event) then return on_received(event); end
end

-- A room sends one stanza to many; mod_mam may replace it on the way.
local function keep_note(event)
	event.xmpp_archiver_note = notes[event.stanza];
end

-- What the archiver sends.

local function status()
	return { xmlns = envelope.NAMESPACE, module = "prosody", version = VERSION, mode = mode, epoch = queue.epoch,
		next = ("%d"):format(queue:next_seq()), depth = ("%d"):format(queue:depth()), bytes = ("%d"):format(queue.bytes),
		["in-flight"] = ("%d"):format(link.count), dropped = ("%d"):format(queue.dropped), errors = ("%d"):format(errors),
		oldest = link:oldest() };
end

local function on_iq(event)
	local origin, stanza = event.origin, event.stanza;
	if stanza.attr.from ~= component then return; end
	local kind, id = stanza.attr.type, stanza.attr.id;
	if kind == "result" then
		if id and link:answered(id, stanza:get_child("refused", envelope.NAMESPACE) ~= nil) then return true; end
	elseif kind == "get" and stanza:get_child("status", envelope.NAMESPACE) then
		origin.send(st.reply(stanza):tag("status", status()));
		return true;
	end
end

local function on_iq_guarded(event)
	local ok, result = guard(on_iq, event);
	if ok then return result; end
end

-- The component's stream.

local function is_ours(session)
	return link.session == session;
end

local is_attached = false;

local function attach_component(host)
	if host ~= component or is_attached then return; end
	is_attached = true;
	local events = hosts[host].events;
	module:hook_object_event(events, "component-authenticated", function (event)
		guard(link.connected, link, event.session);
	end);
	module:hook_object_event(events, "component-disconnected", function (event)
		if is_ours(event.session) then
			module:log("warn", "The archiver has gone; copies stay in the queue");
			guard(link.disconnected, link);
		end
	end);
	local there = hosts[host].modules.component;
	if there and there.session then guard(link.connected, link, there.session); end
end

-- Loading.

local function start()
	local directory = prosody.paths.data .. "/xmpp_archiver";
	local err;
	queue, err = open_queue(directory, {
		limit_bytes = module:get_option_number("xmpp_archiver_queue_limit", 1024) * MIB,
		segment_bytes = module:get_option_number("xmpp_archiver_segment", 8) * MIB,
		drop_oldest = when_full == "drop-oldest",
		new_epoch = function () return random_hex(random_bytes(8)); end,
		log = log,
	});
	if not queue then error("the queue can't be opened: " .. err, 0); end
	link = new_link(queue, {
		wrap = envelope.wrapper(home(), component),
		result_pattern = envelope.result_pattern(home(), component),
		window = module:get_option_number("xmpp_archiver_window", 4000),
		window_bytes = 8 * MIB,
		log = log, now = time_now, guard = guard,
		on_finished = function (index)
			if gate then gate:answered(index, "recorded"); end
		end,
		on_refused = function (index)
			if gate then gate:answered(index, "refused"); end
		end,
	});
	if must_record then
		gate = gates.new(link, { seconds = module:get_option_number("xmpp_archiver_timeout", 10), on_timeout = on_timeout, now = time_now, guard = guard });
	end
	if hosts[component] then attach_component(component); end
	local stall_seconds = module:get_option_number("xmpp_archiver_stall_timeout", 300);
	module:add_timer(SAVE_SECONDS, function ()
		guard(queue.save_progress, queue);
		guard(link.check_stall, link, stall_seconds);
		return SAVE_SECONDS;
	end);
	module:log("info", "Mirroring to %s in mode %s; %d copies in the queue, epoch %s", component, mode, queue:depth(), queue.epoch);
end

local function hook_people(module)
	for _, kind in ipairs{ "bare", "full", "host" } do
		module:hook("pre-message/" .. kind, gated("pre-message", on_sent), AFTER_ARCHIVE);
		module:hook("message/" .. kind, keep_note, 1000);
		if must_record then module:hook("message/" .. kind, gated("message", on_received_early), BEFORE_ARCHIVE); end
		module:hook("message/" .. kind, gated("message", on_received), AFTER_ARCHIVE);
	end
end

function module.add_host(module)
	if not queue then start(); end
	module:hook("iq/host", on_iq_guarded, 1000);
	if hosts[module.host].modules.muc then
		rooms.attach(module, mirror);
	elseif module:get_host_type() == "local" then
		hook_people(module);
	end
end

-- Rooms' hosts do not inherit the modules that are enabled for all: they get this one without being asked for it.
local function cover(host)
	local session = hosts[host];
	if session and session.type == "component" and session.modules.muc and not session.modules.xmpp_archiver then
		require "core.modulemanager".load(host, "xmpp_archiver");
	end
end

local function on_host(host)
	guard(cover, host);
	if link then guard(attach_component, host); end
end

module:hook_global("host-activated", on_host, -1);

module:hook_global("server-started", function ()
	if not queue then start(); end
end, 1000);

-- The hosts that were there before: not before this has returned, since only then the server knows that the module is loaded.
module:add_timer(0, function ()
	for host in pairs(hosts) do on_host(host); end
end);

function module.unload()
	if queue then queue:close(); end
end
module:hook_global("server-stopped", function ()
	if queue then guard(queue.close, queue); end
end);
