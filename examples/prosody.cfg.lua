-- What to add to /etc/prosody/prosody.cfg.lua so that Prosody mirrors to xmpp-archiver (measured with 0.12.3).
--
-- Needs mod_firewall, in Debian from the package prosody-modules, and examples/mirror.pfw as /etc/prosody/mirror.pfw.
-- While the archiver is not attached, this mirror sends the users two errors for each message that they write.

-- Where components connect. Keep it on loopback, or between machines that trust each other: the port has no encryption.
component_ports = { 5347 }
component_interfaces = { "127.0.0.1" }

-- In each host whose users are archived:
VirtualHost "example.com"
  modules_enabled = { "firewall" }
  firewall_scripts = { "/etc/prosody/mirror.pfw" }

-- The archive itself. Its domain needs no DNS.
Component "archive.example.com"
  component_secret = "change me"

-- The archiver's side:
--   [[node]]
--   address = "127.0.0.1:5347"
--   domain = "archive.example.com"
--   secret = "change me"
--   hosts = ["example.com"]
--   muc = ["conference.example.com"]
