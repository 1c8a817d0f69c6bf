-- Lets the archiver's component read the archives of this host: of its users where it is loaded on a virtual host,
-- of its rooms where it is loaded on a component with rooms, members-only ones included.
--
-- A query is answered as XEP-0313 says, for whoever asks by the bare domain of a component named in
-- `xmpp_archiver_mam_components`, and for nobody else. Nothing is ever written.
--
-- Beside that, <archives xmlns='urn:xmpp-archiver:mam:0' after='JID'/> sent to the host itself is answered with the JIDs
-- of those who have an archive, in order, a page at a time.

local dataform = require "util.dataforms".new;
local datetime = require "util.datetime".datetime;
local jid_split = require "util.jid".split;
local jid_join = require "util.jid".join;
local rsm = require "util.rsm";
local st = require "util.stanza";

local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_list = "urn:xmpp-archiver:mam:0";

local is_rooms = module:get_host_type() == "component";
local components = module:get_option_set("xmpp_archiver_mam_components", {});
local page_max = module:get_option_number("xmpp_archiver_mam_page", 250);
local store_name = is_rooms and module:get_option_string("muc_log_store", "muc_log") or module:get_option_string("archive_store", "archive");
local archive = module:open_store(store_name, "archive");

if not archive or not archive.find then
	error("the storage of this host keeps no archives");
end
if components:empty() then
	module:log("warn", "xmpp_archiver_mam_components names no component: nobody may read the archives");
end

local form = dataform {
	{ name = "FORM_TYPE"; type = "hidden"; value = xmlns_mam };
	{ name = "start"; type = "text-single"; datatype = "xs:dateTime" };
	{ name = "end"; type = "text-single"; datatype = "xs:dateTime" };
};

-- Whether an iq comes from a component that may read. The sender's address was checked when it came in.
local function may_read(event)
	return event.origin.type == "component" and components:contains(event.stanza.attr.from);
end

local function refuse(event, kind, condition, text)
	event.origin.send(st.error_reply(event.stanza, kind, condition, text));
	return true;
end

local function result(stanza, query_id, id, item, when)
	if not st.is_stanza(item) then item = st.deserialize(item); end
	item = st.clone(item);
	item.attr.xmlns = "jabber:client";
	return st.message({ to = stanza.attr.from; from = stanza.attr.to })
		:tag("result", { xmlns = xmlns_mam; queryid = query_id; id = id })
			:tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
				:tag("delay", { xmlns = "urn:xmpp:delay"; stamp = datetime(when) }):up()
				:add_child(item);
end

local function answer(event)
	local origin, stanza = event.origin, event.stanza;
	local user = jid_split(stanza.attr.to);
	local query = stanza.tags[1];
	local wanted = {};
	local x = query:get_child("x", "jabber:x:data");
	if x then
		local fields, wrong = form:data(x);
		if wrong then return refuse(event, "modify", "bad-request", select(2, next(wrong))); end
		wanted = fields;
	end
	local page = rsm.get(query) or {};
	local max = math.min(page.max or page_max, page_max);
	local found, problem = archive:find(user, {
		start = wanted["start"]; ["end"] = wanted["end"];
		with = is_rooms and "message<groupchat" or nil;
		after = type(page.after) == "string" and page.after or nil;
		limit = max + 1;
	});
	if not found then
		if problem == "item-not-found" then return refuse(event, "modify", "item-not-found"); end
		return refuse(event, "cancel", "internal-server-error");
	end
	local count, first, last, complete = 0, nil, nil, "true";
	for id, item, when in found do
		count = count + 1;
		if count > max then
			complete = nil;
			break;
		end
		first, last = first or id, id;
		origin.send(result(stanza, query.attr.queryid, id, item, when));
	end
	origin.send(st.reply(stanza)
		:tag("fin", { xmlns = xmlns_mam; complete = complete })
			:add_child(rsm.generate { first = first; last = last }));
	return true;
end

-- An error here must not reach whoever else handles the query: it is answered and told.
local function guarded(handler)
	return function (event)
		if not may_read(event) then return; end
		local ok, done = pcall(handler, event);
		if ok then return done; end
		module:log("error", "an archive could not be read: %s", done);
		return refuse(event, "cancel", "internal-server-error");
	end
end

local function list(event)
	local after = event.stanza.tags[1].attr.after;
	local names = {};
	if archive.users then
		for name in archive:users() do
			local jid = jid_join(name, module.host);
			if not after or jid > after then names[#names + 1] = jid; end
		end
	end
	table.sort(names);
	local reply = st.reply(event.stanza):tag("archives", { xmlns = xmlns_list });
	for index = 1, math.min(#names, page_max) do
		reply:tag("archive", { jid = names[index] }):up();
	end
	event.origin.send(reply);
	return true;
end

-- Before mod_muc_mam, which asks for membership.
module:hook("iq-set/bare/" .. xmlns_mam .. ":query", guarded(answer), 10);
module:hook("iq-get/host/" .. xmlns_list .. ":archives", guarded(list), 10);
