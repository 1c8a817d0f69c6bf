"""Holds an export against the schemas beside this file, and against what a schema can't say: that whoever is spoken of is there.

    schema.py check FORMAT DIRECTORY TRUTH     (FORMAT is rsmf or xml)
    schema.py mistakes FORMAT DIRECTORY        makes mistakes in it, one at a time, each of which must be found

TRUTH is a file of JSON Lines as `search --format jsonl --limit …` prints them. Says nothing if all is well. Needs jsonschema (Debian:
python3-jsonschema) and xmllint (libxml2-utils).
"""

import copy
import datetime
import email
import email.policy
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
import zipfile

import jsonschema

SCHEMAS = pathlib.Path(__file__).parent / "schema"
OURS = "{urn:xmpp-archiver:export:0}"
CHANGES = ("correction", "retraction", "moderation")


def truth_of(path):
    lines = pathlib.Path(path).read_bytes().split(b"\n")
    return {record["id"]: record for record in (json.loads(line) for line in lines if line)}


def amending(truth, number, *kinds):
    """What was done to a message later, by the archive."""
    return [record for record in truth.values() if record["refers_to"] == number and record["kind"] in kinds]


def done_to(truth, number):
    """What was done to a message, and what was done to that."""
    direct = amending(truth, number, *CHANGES, "reaction")
    return direct + [one for record in direct for one in done_to(truth, record["id"])]


def changing(truth, number, *kinds):
    """What changes a message, by the archive: what was done to it, or to such a change, by somebody who may."""
    direct = [record for record in amending(truth, number, *CHANGES) if not record["author_mismatch"]]
    return [record for record in direct if record["kind"] in kinds] + [one for record in direct for one in changing(truth, record["id"], *kinds)]


def twice(values):
    seen = set()
    return sorted({value for value in values if value in seen or seen.add(value)})


# --- RSMF


def validator():
    schema = json.loads((SCHEMAS / "rsmf_manifest.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def rsmf_files(directory):
    for path in sorted(pathlib.Path(directory).rglob("*.rsmf")):
        # This policy raises whatever the others only note.
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.strict)
        headers = {name.lower(): str(value) for name, value in message.items()}
        (attachment,) = message.iter_attachments()
        with zipfile.ZipFile(io.BytesIO(attachment.get_payload(decode=True))) as archive:
            yield path, headers, json.loads(archive.read("rsmf_manifest.json"))


def rsmf_mistakes(headers, manifest, schema):
    """What is wrong with a manifest in its mail."""
    wrong = [f"{error.json_path}: {error.message}" for error in schema.iter_errors(manifest)]
    # What is spoken of can be looked up only where it has the form that it should.
    return wrong or [*people_mistakes(manifest), *event_mistakes(manifest), *header_mistakes(headers, manifest)]


def people_mistakes(manifest):
    people = [person["id"] for person in manifest["participants"]]
    (conversation,) = manifest["conversations"]
    yield from (f"participant {one} twice" for one in twice(people))
    yield from (f"account {one} twice" for one in twice(person["account_id"] for person in manifest["participants"]))
    yield from (f"{one} is in the conversation and no participant" for one in set(conversation["participants"]) - set(people))
    moves = {}
    for event in manifest["events"]:
        moves.setdefault(event["participant"], event["type"])
    for one in people:
        is_listed, joins = one in conversation["participants"], moves.get(one) == "join"
        if conversation["type"] == "direct" and not is_listed:
            yield f"{one} is not in a conversation that nobody can join"
        if conversation["type"] == "channel" and is_listed and joins:
            yield f"{one} is in the channel at first, and joins it"
        if conversation["type"] == "channel" and not is_listed and moves.get(one, "join") != "join":
            yield f"{one} is not in the channel at first, and does something before joining it"


def event_mistakes(manifest):
    people = {person["id"] for person in manifest["participants"]}
    (conversation,) = manifest["conversations"]
    events = manifest["events"]
    ids = [event["id"] for event in events if "id" in event]
    yield from (f"event {one} twice" for one in twice(ids))
    times = [moment(event["timestamp"]) for event in events]
    if None in times:
        yield "a time that there is not"
    elif times != sorted(times):
        yield "events not in the order of time"
    for number, event in enumerate(events):
        what = event.get("id", f"event {number}")
        named = [event["participant"], *(edit["participant"] for edit in event.get("edits", []))]
        named += [receipt["participant"] for receipt in event.get("read_receipts", [])]
        named += [one for reaction in event.get("reactions", []) for one in reaction["participants"]]
        yield from (f"{what}: {one} is no participant" for one in named if one not in people)
        if event["conversation"] != conversation["id"]:
            yield f"{what}: no conversation {event['conversation']}"
        if event.get("parent") == what or event.get("parent", what) not in [what, *ids]:
            yield f"{what}: its parent {event['parent']} is no other event"
        if event["type"] in ("join", "leave") and conversation["type"] != "channel":
            yield f"{what}: {event['type']} of a conversation of two"
        yield from (f"{what}: {one} reacted {reaction['value']!r} as {reaction['count']}" for reaction in event.get("reactions", [])
                    for one in [reaction["participants"]] if reaction["count"] != len(one))
        yield from (f"{what}: {one!r} twice" for one in twice(reaction["value"] for reaction in event.get("reactions", [])))
        edits = event.get("edits", [])
        yield from (f"{what}: an edit goes on from other words" for one, next_one in zip(edits, edits[1:]) if one["new"] != next_one["previous"])


def header_mistakes(headers, manifest):
    events = manifest["events"]
    messages = [event["timestamp"] for event in events if event["type"] in ("message", "unknown")]
    expected = {
        "x-rsmf-version": manifest["version"],
        "x-rsmf-eventcount": str(len(events)),
        "x-rsmf-attachmentcount": "0",
        "x-rsmf-begindate": min(messages, default=""),
        "x-rsmf-enddate": max(messages, default=""),
        "x-rsmf-eventcollectionid": manifest["eventcollectionid"],
        "x-xmpp-messages": str(len(messages)),
    }
    for name, value in expected.items():
        if headers.get(name) != value:
            yield f"{name} is {headers.get(name)}, and {value} by the events"
    yield from (f"{event['timestamp']} is out of the range of the file" for event in events
                if messages and not min(messages) <= event["timestamp"] <= max(messages))


def moment(text):
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return None


def check_rsmf(directory, truth):
    schema, found, collections = validator(), {}, {}
    for path, headers, manifest in rsmf_files(directory):
        wrong = rsmf_mistakes(headers, manifest, schema)
        assert not wrong, f"{path}: {wrong}"
        accounts = {person["id"]: person["account_id"] for person in manifest["participants"]}
        name = next(pair["value"] for pair in manifest["conversations"][0]["custom"] if pair["name"] == "Conversation")
        assert collections.setdefault(manifest["eventcollectionid"], name) == name, f"{path}: the collection of {name}"
        here = {event["id"] for event in manifest["events"] if "id" in event}
        for event in manifest["events"]:
            if "id" in event:
                found[int(event["id"][1:])] = (event, accounts, here)
    assert sorted(found) == sorted(truth), f"{len(found)} events are messages, {len(truth)} messages are archived"
    for number, (event, accounts, here) in found.items():
        record = truth[number]
        got = {copy["recipient"] for copy in record["deliveries"] if copy["direction"] == "received" and copy["recipient"]}
        told = {accounts[receipt["participant"]] for receipt in event.get("read_receipts", [])}
        assert got == told, f"{event['id']}: {told} got it, and {got} by the archive"
        parent = f"m{record['refers_to']}"
        assert event.get("parent") == (parent if parent in here else None), f"{event['id']}: {event.get('parent')} and not {parent}"
        edits = event.get("edits", [])
        assert len(edits) == len(changing(truth, number, "correction")), f"{event['id']}: {edits}"
        assert not edits or edits[0]["previous"] == (record["body"] or ""), f"{event['id']}: {edits} of {record['body']!r}"
        is_deleted = bool(changing(truth, number, "retraction", "moderation"))
        assert event.get("deleted", False) == is_deleted, f"{event['id']}: deleted is {event.get('deleted')}"
        assert (event["type"] == "unknown") == (record["kind"] == "unreadable"), f"{event['id']}: {event['type']}"
        assert record["sender"] is None or accounts[event["participant"]] == record["sender"], f"{event['id']}: of {event['participant']}"


def of_type(*types):
    return lambda manifest: next((event for event in manifest["events"] if event["type"] in types), None)


def having(key):
    return lambda manifest: next((event for event in manifest["events"] if key in event), None)


def change(find, mistake):
    """A mistake in the part of a manifest that `find` gives. False where there is none."""

    def made(headers, manifest):
        part = find(manifest)
        if part is None:
            return False
        mistake(part)
        return True

    return made


def joins_before(manifest):
    """Lists somebody at first who joins later."""
    joins = [event["participant"] for event in manifest["events"] if event["type"] == "join"]
    listed = manifest["conversations"][0]["participants"]
    late = [one for one in joins if one not in listed]
    return manifest["conversations"][0] if late and not listed.append(late[0]) else None


def person(manifest):
    return manifest["participants"][-1]


def conversation(manifest):
    return manifest["conversations"][0]


def all_of_it(manifest):
    return manifest


message = of_type("message", "unknown")
move = of_type("join", "leave")
edited, reacted, received, answering = having("edits"), having("reactions"), having("read_receipts"), having("parent")

RSMF_MISTAKES = {
    "no version": change(all_of_it, lambda it: it.pop("version")),
    "another version": change(all_of_it, lambda it: it.update(version="1.0.0")),
    "no participants": change(all_of_it, lambda it: it.pop("participants")),
    "events are no list": change(all_of_it, lambda it: it.update(events=it["events"][0])),
    "an event too few for the header": change(all_of_it, lambda it: it["events"].append({**it["events"][-1], "id": "m999999999"})),
    "not in the order of time": change(lambda it: it if len({one["timestamp"] for one in it["events"]}) > 2 else None, lambda it: it["events"].reverse()),
    "a participant without id": change(person, lambda it: it.pop("id")),
    "an id that is a number": change(person, lambda it: it.update(id=2)),
    "a participant twice": change(all_of_it, lambda it: it["participants"].append({**it["participants"][0], "account_id": "else@example.com"})),
    "an account twice": change(all_of_it, lambda it: it["participants"].append({**it["participants"][0], "id": "P99999"})),
    "a conversation without platform": change(conversation, lambda it: it.pop("platform")),
    "an unknown type of conversation": change(conversation, lambda it: it.update(type="group")),
    "a stranger in the conversation": change(conversation, lambda it: it["participants"].append("P99999")),
    "nobody in a conversation of two": change(lambda it: conversation(it) if conversation(it)["type"] == "direct" else None, lambda it: it["participants"].clear()),
    "a message without id": change(message, lambda it: it.pop("id")),
    "an event without type": change(message, lambda it: it.pop("type")),
    "an unknown type of event": change(message, lambda it: it.update(type="speech")),
    "no body": change(message, lambda it: it.pop("body")),
    "a body that is a number": change(message, lambda it: it.update(body=7)),
    "no time": change(message, lambda it: it.pop("timestamp")),
    "a time of another form": change(message, lambda it: it.update(timestamp=it["timestamp"].replace("T", " "))),
    "a time that there is not": change(message, lambda it: it.update(timestamp="2026-19-39T29:59:59.000000Z")),
    "a time before the file's": change(message, lambda it: it.update(timestamp="2001-01-01T00:00:00.000000Z")),
    "a time after the file's": change(lambda it: it["events"][-1], lambda it: it.update(timestamp="2999-01-01T00:00:00.000000Z")),
    "a key that nobody knows": change(message, lambda it: it.update(particpant="P1")),
    "a participant not listed": change(message, lambda it: it.update(participant="P99999")),
    "another conversation": change(message, lambda it: it.update(conversation="C2")),
    "a parent that is not there": change(message, lambda it: it.update(parent="m999999999")),
    "its own parent": change(message, lambda it: it.update(parent=it["id"])),
    "deleted as a text": change(message, lambda it: it.update(deleted="true")),
    "an empty value": change(message, lambda it: it["custom"][0].update(value="")),
    "a parent that is a number": change(answering, lambda it: it.update(parent=1)),
    "an event twice": change(lambda it: it if sum("id" in event for event in it["events"]) > 1 else None,
                             lambda it: [event for event in it["events"] if "id" in event][1].update(id=message(it)["id"])),
    "an edit by nobody": change(edited, lambda it: it["edits"][0].pop("participant")),
    "an edit by a stranger": change(edited, lambda it: it["edits"][0].update(participant="P99999")),
    "an edit from other words": change(edited, lambda it: it["edits"].append({**it["edits"][-1], "previous": "something else entirely"})),
    "a reaction without value": change(reacted, lambda it: it["reactions"][0].pop("value")),
    "a reaction counted wrong": change(reacted, lambda it: it["reactions"][0].update(count=it["reactions"][0]["count"] + 1)),
    "a reaction of a stranger": change(reacted, lambda it: it["reactions"][0]["participants"].__setitem__(0, "P99999")),
    "an unknown receipt": change(received, lambda it: it["read_receipts"][0].update(action="seen")),
    "a receipt of a stranger": change(received, lambda it: it["read_receipts"][0].update(participant="P99999")),
    "a join with a body": change(move, lambda it: it.update(body="hello")),
    "a join of nobody": change(move, lambda it: it.pop("participant")),
    "somebody there who joins": change(joins_before, lambda it: None),
    "no count in the mail": lambda headers, manifest: headers.pop("x-rsmf-eventcount") and True,
    "another begin in the mail": lambda headers, manifest: headers.update({"x-rsmf-begindate": "2001-01-01T00:00:00.000000Z"}) or True,
}


def rsmf_refuses(directory):
    schema, files = validator(), list(rsmf_files(directory))
    for path, headers, manifest in files:
        wrong = rsmf_mistakes(headers, manifest, schema)
        assert not wrong, f"{path}: {wrong}, before anything was changed"
    for name, mistake in RSMF_MISTAKES.items():
        made = 0
        for path, headers, manifest in files:
            headers, manifest = dict(headers), copy.deepcopy(manifest)
            if mistake(headers, manifest):
                made += 1
                assert rsmf_mistakes(headers, manifest, schema), f"{path}: {name} is not found"
        assert made, f"{name}: nothing to make it in"


# --- XML


def xml_mistakes(path):
    run = subprocess.run(["xmllint", "--noout", "--nonet", "--huge", "--schema", SCHEMAS / "dump.xsd", path], capture_output=True)
    if run.returncode:
        return run.stderr.decode("utf-8", "replace").splitlines()
    return [mistake for one in ElementTree.parse(path).getroot() for mistake in conversation_mistakes(one)]


def conversation_mistakes(conversation):
    name, begin, end = conversation.findtext("RoomID"), int(conversation.findtext("StartTimeUTC")), int(conversation.findtext("EndTimeUTC"))
    entered = [element.findtext("LoginName") for element in conversation.iter("ParticipantEntered")]
    left = [element.findtext("LoginName") for element in conversation.iter("ParticipantLeft")]
    if sorted(entered) != sorted(left):
        yield f"{name}: {sorted(entered)} entered and {sorted(left)} left"
    times = [int(element.text) for element in conversation.iter("DateTimeUTC")]
    if not all(begin <= time <= end for time in times):
        yield f"{name}: times out of {begin} to {end}"
    said = [int(message.findtext("DateTimeUTC")) for message in conversation.iter("Message")]
    if said != sorted(said):
        yield f"{name}: messages not in the order of time"
    for message in conversation.iter("Message"):
        if message.findtext("LoginName") not in entered:
            yield f"{name}: {message.findtext('LoginName')} says something and did not enter"
        at = moment(message.findtext(f"{OURS}SentAt"))
        since = (at - datetime.datetime(1970, 1, 1)) // datetime.timedelta(milliseconds=1)
        if since != int(message.findtext("DateTimeUTC")):
            yield f"{name}: {message.findtext('DateTimeUTC')} is not {message.findtext(f'{OURS}SentAt')}"
        amendments = message.findtext(f"{OURS}Amendments")
        try:
            if amendments is not None and not json.loads(amendments)[0]["kind"]:
                yield f"{name}: amendments of no kind"
        except (ValueError, LookupError, TypeError):
            yield f"{name}: amendments that are none"


def check_xml(directory, truth):
    path = pathlib.Path(directory) / "messages.xml"
    wrong = xml_mistakes(path)
    assert not wrong, wrong
    found = {int(message.findtext("MessageId")): message for message in ElementTree.parse(path).getroot().iter("Message")}
    assert sorted(found) == sorted(truth), f"{len(found)} messages, {len(truth)} are archived"
    for number, message in found.items():
        record = truth[number]
        assert message.findtext(f"{OURS}Kind") == record["kind"] and message.findtext(f"{OURS}Via") == record["via"], number
        assert message.findtext(f"{OURS}RefersTo") == (str(record["refers_to"]) if record["refers_to"] else None), number
        amended = json.loads(message.findtext(f"{OURS}Amendments") or "[]")
        assert len(amended) == len(done_to(truth, number)), f"{number}: {amended}"
        assert record["sender"] is None or message.findtext("LoginName") == record["sender"], number


def without(path, child):
    def mistake(root):
        parent = root.find(f"{path}[{child}]")
        return parent is not None and (parent.remove(parent.find(child)) or True)

    return mistake


def text(path, value):
    def mistake(root):
        found = root.find(path)
        if found is None:
            return False
        found.text = value
        return True

    return mistake


def added(path, tag, value):
    def mistake(root):
        ElementTree.SubElement(root.find(path), tag).text = value
        return True

    return mistake


def message_twice(root):
    conversation = root.find("Conversation")
    at = list(conversation).index(conversation.find("Message"))
    conversation.insert(at, copy.deepcopy(conversation.find("Message")))
    return True


def order_changed(root):
    message = root.find(".//Message")
    message.insert(0, message[1])
    del message[2]
    return True


XML_MISTAKES = {
    "no room": without("Conversation", "RoomID"),
    "no begin": without("Conversation", "StartTimeUTC"),
    "no end": without("Conversation", "EndTimeUTC"),
    "nobody left": without("Conversation", "ParticipantLeft"),
    "a conversation without perspective": lambda root: root.find("Conversation").attrib.pop("Perspective"),
    "an attribute that nobody knows": lambda root: root.find("Conversation").set("Perspektive", "x") or True,
    "a message without id": without("Conversation/Message", "MessageId"),
    "an id that is no number": text("Conversation/Message/MessageId", "m17"),
    "a message twice": message_twice,
    "no sender": without("Conversation/Message", "LoginName"),
    "a sender who did not enter": text("Conversation/Message/LoginName", "stranger@example.com"),
    "an empty sender": text("Conversation/Message/LoginName", ""),
    "an unknown type of user": text("Conversation/Message/UserType", "bot"),
    "no content": without("Conversation/Message", "Content"),
    "no time": without("Conversation/Message", "DateTimeUTC"),
    "a time in seconds": text("Conversation/Message/DateTimeUTC", "1795332535"),
    "a time that is a text": text("Conversation/Message/DateTimeUTC", "2026-11-22T07:28:55Z"),
    "a time before the begin": text("Conversation/Message/DateTimeUTC", "1000000000000"),
    "an entry after the end": text("Conversation/ParticipantEntered/DateTimeUTC", "9999999999999"),
    "an unknown kind": text(f".//{OURS}Kind", "speech"),
    "an unknown way": text(f".//{OURS}Via", "telepathy"),
    "a time of our own that is another": text(f".//{OURS}SentAt", "2026-11-22T07:28:55.173794Z"),
    "a reference that is no number": text(f".//{OURS}RefersTo", "m17"),
    "amendments that are no JSON": text(f".//{OURS}Amendments", "[{kind: correction}]"),
    "amendments without any": text(f".//{OURS}Amendments", "[]"),
    "an element that nobody knows": added(".//Message", "Attachment", "x"),
    "an element of ours that nobody knows": added(".//Message", f"{OURS}Colour", "x"),
    "another order of elements": order_changed,
    "another root": lambda root: setattr(root, "tag", "Dump") or True,
}


def xml_refuses(directory):
    source = pathlib.Path(directory) / "messages.xml"
    with tempfile.TemporaryDirectory() as below:
        changed = pathlib.Path(below) / "messages.xml"
        ElementTree.parse(source).write(changed, encoding="utf-8", xml_declaration=True)
        assert not xml_mistakes(changed), "a mistake before anything was changed"
        for name, mistake in XML_MISTAKES.items():
            tree = ElementTree.parse(source)
            assert mistake(tree.getroot()), f"{name}: nothing to make it in"
            tree.write(changed, encoding="utf-8", xml_declaration=True)
            assert xml_mistakes(changed), f"{name} is not found"


what, form, directory, *rest = sys.argv[1:]
if what == "check":
    {"rsmf": check_rsmf, "xml": check_xml}[form](directory, truth_of(rest[0]))
else:
    {"rsmf": rsmf_refuses, "xml": xml_refuses}[form](directory)
