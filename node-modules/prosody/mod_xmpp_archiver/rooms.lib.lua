-- Rooms (XEP-0045): which copies of what is said in them belong together, and who comes and goes.
--
-- A room makes a stanza of its own of what is said in it, and gives that to everybody inside. While it handles a message, the `ref` of the copy that went
-- into it is kept aside; the stanza that it makes meanwhile gets the same `ref`, and so does each copy of that.

local jid_bare = require "util.jid".bare;
local jid_resource = require "util.jid".resource;

-- Hooks everything on the host of `module`. `mirror` is what the main file offers.
local function attach(module, mirror)
	local envelope = mirror.envelope;
	-- The message that a room is handling at this moment.
	local current;
	-- Rooms whose list of occupants the archive has had since the module was loaded.
	local listed = {};

	local function hook(event, priority, handler)
		module:hook(event, mirror.guarded(event, handler), priority);
	end

	-- The list, once for each room.
	local function occupants_once(room)
		if not room or listed[room.jid] then return nil; end
		listed[room.jid] = true;
		return envelope.occupants(room);
	end

	local function room_of(jid)
		return prosody.hosts[module.host].modules.muc.get_room_from_jid(jid_bare(jid));
	end

	-- What the room makes of the message that it is handling.
	local function note(event)
		local about = event.room.jid;
		mirror.notes[event.stanza] = current and current.room == about and current.ref or mirror.fresh_ref();
	end
	hook("muc-broadcast-message", 1000, note);
	hook("muc-private-message", 1000, note);
	hook("muc-invite", 1000, note);
	hook("muc-decline", 1000, note);

	-- A message on its way into a room. One that a session of this server sent has been mirrored already.
	local function into_room(event)
		local stanza = event.stanza;
		if mirror.concerns_archiver(stanza) then return; end
		if event.xmpp_archiver_ref then return; end
		event.xmpp_archiver_ref = mirror.fresh_ref();
		return true, mirror.capture{ stanza = stanza, direction = "sent", session = stanza.attr.from, ref = event.xmpp_archiver_ref,
			occupants = occupants_once(room_of(stanza.attr.to)) };
	end

	for _, kind in ipairs{ "bare", "full", "host" } do
		module:hook("message/" .. kind, mirror.gated("message/" .. kind, into_room, function (event)
			current = { room = jid_bare(event.stanza.attr.to), ref = event.xmpp_archiver_ref };
		end), -0.9);
		module:wrap_event("message/" .. kind, function (handlers, name, event)
			local result = handlers(name, event);
			current = nil;
			return result;
		end);
	end

	-- To people elsewhere. People here are told by the hooks of their own host.
	hook("route/remote", 1000, function (event)
		local stanza = event.stanza;
		if stanza.name ~= "message" or mirror.concerns_archiver(stanza) then return; end
		mirror.capture{ stanza = stanza, direction = "received", session = jid_resource(stanza.attr.to) and stanza.attr.to,
			ref = mirror.notes[stanza], ids_by = mirror.room_ids_by(module.host, stanza) };
	end);

	-- Who comes and goes.

	local function tell(room, nick, jid, is_leaving, occupant)
		mirror.capture{
			stanza = envelope.own_presence(nick, jid, is_leaving, room:get_affiliation(jid), not is_leaving and occupant.role),
			direction = "received", session = jid, occupants = occupants_once(room),
		};
	end

	hook("muc-occupant-session-new", 1000, function (event)
		tell(event.room, event.nick, event.jid, false, event.occupant);
	end);

	hook("muc-occupant-left", 1000, function (event)
		for jid in event.occupant:each_session() do
			tell(event.room, event.nick, jid, true, event.occupant);
		end
	end);

	-- One of several sessions with one nick leaves, or takes another nick: the room tells nobody but that session.
	local function nick_of(room, jid)
		return room and room:get_occupant_jid(jid);
	end
	local function shared_nick(event)
		local room = room_of(event.stanza.attr.to);
		local nick = nick_of(room, event.stanza.attr.from);
		local occupant = nick and room:get_occupant_by_nick(nick);
		local sessions = 0;
		for _ in pairs(occupant and occupant.sessions or {}) do sessions = sessions + 1; end
		if sessions > 1 then return room, nick, event.stanza.attr.from; end
	end
	local function left_others_behind(room, nick, jid)
		local occupant = room:get_occupant_by_nick(nick);
		if occupant and nick_of(room, jid) ~= nick then tell(room, nick, jid, true, occupant); end
	end
	for _, kind in ipairs{ "bare", "full" } do
		module:wrap_event("presence/" .. kind, function (handlers, name, event)
			local ok, room, nick, jid = mirror.guard(shared_nick, event);
			local result = handlers(name, event);
			if ok and room then mirror.guard(left_others_behind, room, nick, jid); end
			return result;
		end);
	end

	hook("muc-room-destroyed", -1000, function (event)
		listed[event.room.jid] = nil;
	end);
end

return { attach = attach };
