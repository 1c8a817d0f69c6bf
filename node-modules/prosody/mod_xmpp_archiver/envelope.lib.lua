-- The envelope `urn:xmpp-archiver:mirror:0` of docs/MIRROR.md: what a copy says of itself.

local st = require "util.stanza";
local time_now = require "util.time".now;

local escape = st.xml_escape;
local format, floor, date = string.format, math.floor, os.date;
local t_concat, tostring = table.concat, tostring;

local NAMESPACE = "urn:xmpp-archiver:mirror:0";
local SID = "urn:xmpp:sid:0";
local MUC_USER = "http://jabber.org/protocol/muc#user";

-- The second that was formatted last: most copies share it with the one before.
local stamped_second, stamp_text;

-- Now, as XEP-0082 wants it, to the microsecond.
local function stamp()
	local now = time_now();
	local second = floor(now);
	if second ~= stamped_second then
		stamped_second, stamp_text = second, date("!%Y-%m-%dT%H:%M:%S", second);
	end
	return format("%s.%06dZ", stamp_text, floor((now - second) * 1e6));
end

-- The stanza as text, in its own namespace: what surrounds it has another one.
local function render(stanza)
	local attr = stanza.attr;
	local namespace = attr.xmlns;
	if namespace ~= nil then return tostring(stanza); end
	attr.xmlns = "jabber:client";
	local ok, text = pcall(tostring, stanza);
	attr.xmlns = nil;
	if not ok then error(text, 0); end
	return text;
end

-- The ids that the archive of `by` gave this stanza. Only its own count, and only where it strips those that others wrote in its name.
local function stanza_ids(stanza, by)
	local ids = "";
	for _, child in ipairs(stanza.tags) do
		if child.name == "stanza-id" and child.attr.xmlns == SID and child.attr.by == by and child.attr.id then
			ids = ids .. format("<stanza-id xmlns='%s' by='%s' id='%s'/>", SID, escape(by), escape(child.attr.id));
		end
	end
	return ids;
end

-- Who is in a room, nick and real JID of every session.
local function occupants(room)
	local list = { format("<occupants room='%s'>", escape(room.jid)) };
	for nick, occupant in room:each_occupant() do
		for jid, presence in occupant:each_session() do
			if presence.attr.type == nil then
				list[#list + 1] = format("<occupant nick='%s' jid='%s'/>", escape(nick:sub(#room.jid + 2)), escape(jid));
			end
		end
	end
	list[#list + 1] = "</occupants>";
	return t_concat(list);
end

-- The presence by which a room tells one who comes, or goes, of himself (XEP-0045 sections 7.2 and 7.14).
local function own_presence(nick, jid, is_leaving, affiliation, role)
	local presence = st.presence({ from = nick, to = jid, type = is_leaving and "unavailable" or nil })
		:tag("x", { xmlns = MUC_USER })
		:tag("item", { jid = jid, affiliation = affiliation or "none", role = role or "none" }):up()
		:tag("status", { code = "110" }):up():up();
	return presence;
end

-- Makes the function that wraps copies for one node and component.
local function wrapper(host, component)
	local head = format("<iq type='set' id='%%s:%%d' from='%s' to='%s'><mirror xmlns='%s' direction='%%s' host='%s' epoch='%%s' seq='%%d' at='%s'",
		escape(host), escape(component), NAMESPACE, escape(host), "%s");
	local foot = "</forwarded></mirror></iq>";
	-- `copy`: xml, direction, and where they are known ref, session, ids, occupants.
	return function (copy, epoch, seq)
		return t_concat({
			format(head, epoch, seq, copy.direction, epoch, seq, copy.at),
			copy.ref and " ref='" .. copy.ref .. "'" or "",
			copy.session and " session='" .. escape(copy.session) .. "'" or "",
			">", copy.ids or "", copy.occupants or "",
			"<forwarded xmlns='urn:xmpp:forward:0'>", copy.xml, foot,
		});
	end
end

return { NAMESPACE = NAMESPACE, stamp = stamp, render = render, stanza_ids = stanza_ids, occupants = occupants, own_presence = own_presence,
	wrapper = wrapper };
