-- What Prosody needs for the mirror. Take the parts that are missing over into prosody.cfg.lua.

plugin_paths = { "/usr/local/lib/prosody/modules" }

modules_enabled = {
	-- … the modules that are enabled already, and:
	"xmpp_archiver"; -- for every VirtualHost; rooms are covered by it without being named
}

-- The component that the archiver connects as: the same name as below.
xmpp_archiver_component = "archive.example.com"

-- "observe": chat never waits. "require": a message is delivered only after it is durable in the archive.
xmpp_archiver_mode = "observe"

-- A new connection of the archiver takes the place of an old one of which nobody has told that it is dead.
component_conflict_resolve = "kick_old"

VirtualHost "example.com"

Component "conference.example.com" "muc"
	modules_enabled = { "muc_mam" }

Component "archive.example.com"
	component_secret = "change this, and write it into the archiver's configuration"
