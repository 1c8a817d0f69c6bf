-- The envelope `urn:xmpp-archiver:mirror:0` of docs/MIRROR.md: what a copy says of itself.

local st = require "util.stanza";
local time_now = require "util.time".now;

local escape = st.xml_escape;
local format, find, gsub, match, floor, date = string.format, string.find, string.gsub, string.match, math.floor, os.date;
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

-- Copies are put together in this table, and nothing that happens meanwhile can make another one. It is filled in place and each function returns how
-- far, since this is done for every copy: a call or a string for each piece would cost more than all the rest.
local buffer = {};

local function escaped(text)
	return find(text, "[&<>'\"]") and escape(text) or text;
end

local function put_attribute(n, name, value)
	buffer[n + 1], buffer[n + 2], buffer[n + 3], buffer[n + 4], buffer[n + 5] = " ", name, "='", escaped(value), "'";
	return n + 5;
end

-- A name of another namespace stands as "namespace\1name" in Prosody.
local function put_foreign_attribute(n, name, value, number)
	local namespace, local_name = match(name, "^([^\1]*)\1(.*)$");
	local prefix = "ns" .. number;
	return put_attribute(put_attribute(n, "xmlns:" .. prefix, namespace), prefix .. ":" .. local_name, value);
end

-- The same that tostring makes of it, with much less waste. `namespace` is what surrounds it.
local function put_element(n, element, namespace)
	local name, attr = element.name, element.attr;
	local own = attr.xmlns or (namespace == FORWARD and CLIENT or namespace);
	buffer[n + 1], buffer[n + 2] = "<", name;
	n = n + 2;
	if own ~= namespace then n = put_attribute(n, "xmlns", own); end
	local foreign = 0;
	for key, value in next, attr do
		if key == "xmlns" then -- is there already
		elseif find(key, "\1", 1, true) then
			foreign = foreign + 1;
			n = put_foreign_attribute(n, key, value, foreign);
		else
			buffer[n + 1], buffer[n + 2], buffer[n + 3], buffer[n + 4], buffer[n + 5] = " ", key, "='", escaped(value), "'";
			n = n + 5;
		end
	end
	local children = #element;
	if children == 0 then
		buffer[n + 1] = "/>";
		return n + 1;
	end
	n = n + 1;
	buffer[n] = ">";
	for i = 1, children do
		local child = element[i];
		if child.name then
			n = put_element(n, child, own);
		else
			n = n + 1;
			buffer[n] = escaped(child);
		end
	end
	buffer[n + 1], buffer[n + 2], buffer[n + 3] = "</", name, ">";
	return n + 3;
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
	local addressed = format("' from='%s' to='%s'><mirror xmlns='%s' host='%s' epoch='", escape(host), escape(component), NAMESPACE, escape(host));
	local epoch_before, start, middle;
	-- `copy`: stanza, direction, at, and where they are known ref, session, ids, occupants.
	return function (copy, epoch, seq)
		if epoch ~= epoch_before then
			epoch_before, start, middle = epoch, "<iq type='set' id='" .. epoch .. ":", addressed .. epoch .. "' seq='";
		end
		local number, n = format("%d", seq), 9;
		buffer[1], buffer[2], buffer[3], buffer[4], buffer[5], buffer[6] = start, number, middle, number, "' at='", copy.at;
		buffer[7], buffer[8], buffer[9] = "' direction='", copy.direction, "'";
		if copy.ref then n = put_attribute(n, "ref", copy.ref); end
		if copy.session then n = put_attribute(n, "session", copy.session); end
		buffer[n + 1], n = ">", n + 1;
		if copy.ids then buffer[n + 1], n = copy.ids, n + 1; end
		if copy.occupants then buffer[n + 1], n = copy.occupants, n + 1; end
		buffer[n + 1] = "<forwarded xmlns='" .. FORWARD .. "'>";
		n = put_element(n + 1, copy.stanza, FORWARD) + 1;
		buffer[n] = "</forwarded></mirror></iq>";
		return t_concat(buffer, "", 1, n);
	end
end

-- What an answer of the archiver looks like: a pattern, which gives epoch, number, and where the next one begins.
local function result_pattern(host, component)
	local function literal(text) return (gsub(text, "%p", "%%%0")); end
	return "^<iq type='result' id='(%x+):(%d+)' from='" .. literal(escape(component)) .. "' to='" .. literal(escape(host)) .. "'/>()";
end

return { NAMESPACE = NAMESPACE, stamp = stamp, stanza_ids = stanza_ids, occupants = occupants, own_presence = own_presence,
	wrapper = wrapper, result_pattern = result_pattern };
