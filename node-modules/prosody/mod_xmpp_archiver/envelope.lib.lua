-- The envelope `urn:xmpp-archiver:mirror:0` of docs/MIRROR.md: what a copy says of itself.

local st = require "util.stanza";
local time_now = require "util.time".now;

local escape = st.xml_escape;
local format, find, match, floor, date = string.format, string.find, string.match, math.floor, os.date;
local t_concat = table.concat;

local NAMESPACE = "urn:xmpp-archiver:mirror:0";
local CLIENT = "jabber:client";
local FORWARD = "urn:xmpp:forward:0";
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

-- Copies are put together in this table, and nothing that happens meanwhile can make another one.
local buffer, filled = {}, 0;

local function put(text)
	filled = filled + 1;
	buffer[filled] = text;
end

local function put_escaped(text)
	filled = filled + 1;
	buffer[filled] = find(text, "[&<>'\"]") and escape(text) or text;
end

local function put_attribute(name, value)
	put(" "); put(name); put("='"); put_escaped(value); put("'");
end

-- A name of another namespace stands as "namespace\1name" in Prosody.
local function put_foreign_attribute(name, value, number)
	local namespace, local_name = match(name, "^([^\1]*)\1(.*)$");
	local prefix = "ns" .. number;
	put_attribute("xmlns:" .. prefix, namespace);
	put_attribute(prefix .. ":" .. local_name, value);
end

-- The same that tostring makes of it, with much less waste: this is done for every copy. `namespace` is what surrounds it.
local function put_element(element, namespace)
	local name, attr = element.name, element.attr;
	local own = attr.xmlns or (namespace == FORWARD and CLIENT or namespace);
	put("<"); put(name);
	if own ~= namespace then put_attribute("xmlns", own); end
	local foreign = 0;
	for key, value in pairs(attr) do
		if key == "xmlns" then -- is there already
		elseif find(key, "\1", 1, true) then
			foreign = foreign + 1;
			put_foreign_attribute(key, value, foreign);
		else
			put_attribute(key, value);
		end
	end
	local children = #element;
	if children == 0 then put("/>"); return; end
	put(">");
	for i = 1, children do
		local child = element[i];
		if child.name then put_element(child, own); else put_escaped(child); end
	end
	put("</"); put(name); put(">");
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
	local addressed = format("' from='%s' to='%s'><mirror xmlns='%s' host='%s' direction='", escape(host), escape(component), NAMESPACE, escape(host));
	-- `copy`: stanza, direction, at, and where they are known ref, session, ids, occupants.
	return function (copy, epoch, seq)
		local number = format("%d", seq);
		filled = 0;
		put("<iq type='set' id='"); put(epoch); put(":"); put(number); put(addressed); put(copy.direction);
		put("' epoch='"); put(epoch); put("' seq='"); put(number); put("' at='"); put(copy.at); put("'");
		if copy.ref then put_attribute("ref", copy.ref); end
		if copy.session then put_attribute("session", copy.session); end
		put(">");
		if copy.ids then put(copy.ids); end
		if copy.occupants then put(copy.occupants); end
		put("<forwarded xmlns='" .. FORWARD .. "'>");
		put_element(copy.stanza, FORWARD);
		put("</forwarded></mirror></iq>");
		return t_concat(buffer, "", 1, filled);
	end
end

-- What stands before and after the id in the archiver's answer.
local function result(host, component)
	return { "<iq type='result' id='", format("' from='%s' to='%s'/>", escape(component), escape(host)) };
end

return { NAMESPACE = NAMESPACE, stamp = stamp, stanza_ids = stanza_ids, occupants = occupants, own_presence = own_presence,
	wrapper = wrapper, result = result };
