"""Reads an export back with the tools of Python's own library, and pdftotext, and compares it with what `search` finds.

    check.py FORMAT DIRECTORY TRUTH

TRUTH is a file of JSON Lines as `search --format jsonl --limit … ` prints them. Says nothing if all is well.
"""

import csv
import email
import email.policy
import email.utils
import html.parser
import io
import json
import mailbox
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree
import zipfile

csv.field_size_limit(1 << 28)
FORMAT, DIRECTORY, TRUTH = sys.argv[1], pathlib.Path(sys.argv[2]), {}
for line in pathlib.Path(sys.argv[3]).read_bytes().split(b"\n"):
    if line:
        record = json.loads(line)
        TRUTH[record["id"]] = record
OURS = "{urn:xmpp-archiver:export:0}"
# The kinds whose words are their body.
PLAIN = {"message", "reply", "correction"}


def same(found, expected, what):
    assert found == expected, f"{what}:\n{found!r:.2000}\nnot\n{expected!r:.2000}"


def records(lines):
    """The messages of JSON Lines agree with the truth, key by key."""
    found = {}
    for line in lines:
        record = json.loads(line)
        assert record["id"] not in found, f"{record['id']} twice"
        found[record["id"]] = record
        record.pop("amendments")
        same(record, TRUTH[record["id"]], f"message {record['id']}")
    return found


def all_there(ids):
    same(sorted(ids), sorted(TRUTH), "the messages")


def jsonl():
    text = (DIRECTORY / "messages.jsonl").read_bytes()
    all_there(records(line for line in text.split(b"\n") if line))


def csv_():
    with open(DIRECTORY / "messages.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    all_there(int(row["id"]) for row in rows)
    for row in rows:
        truth = TRUTH[int(row["id"])]
        for name in ("body", "subject", "sender", "conversation", "sent_at", "kind", "stanza_id"):
            same(row[name], truth[name] or "", f"{name} of {row['id']}")
        json.loads(row["amendments"])


def mail(message, found):
    """A mail with all its parts and headers. The policy with which it was read raises whatever is wrong with them."""
    assert not message.defects, message.defects
    for part in message.walk():
        assert all(str(value).strip() for value in part.values()), part.items()
    assert message["Message-ID"].endswith("@xmpp-archiver.invalid>") and message["Date"] and message["Subject"]
    assert len(message["From"].addresses) == 1 and message["To"].addresses, message["To"]
    for address in (*message["From"].addresses, *message["To"].addresses):
        assert address.addr_spec.isascii() and "@" in address.addr_spec and address.display_name, address
    attachment = next(message.iter_attachments())
    same(attachment.get_filename(), "messages.jsonl", "the attachment")
    native = [line for line in attachment.get_payload(decode=True).split(b"\n") if line]
    some = records(native)
    same(int(message["X-XMPP-Messages"]), len(some), "messages in a mail")
    text = message.get_body(("plain",)).get_content()
    page = message.get_body(("html",)).get_content()
    for number in some:
        assert f" #{number} " in text and f'id="m{number}"' in page, number
    assert not found.keys() & some.keys()
    found.update(some)
    return some


def eml(below="eml"):
    found = {}
    for path in sorted((DIRECTORY / below).rglob("*.eml")):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.strict)
        some = mail(message, found)
        same(len({(record["conversation"], record["sent_at"][:10]) for record in some.values()}), 1, f"conversations and days of {path}")
        assert all(len(line) <= 998 for line in path.read_bytes().split(b"\r\n")), path
    all_there(found)


def mbox():
    found = {}
    parse = lambda file: email.message_from_binary_file(file, policy=email.policy.strict)
    for message in mailbox.mbox(DIRECTORY / "messages.mbox", factory=parse, create=False):
        mail(message, found)
    all_there(found)


class Page(html.parser.HTMLParser):
    """Collects the messages of a page, and refuses whatever could do something."""

    ALLOWED = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "a", "table", "thead", "tbody", "tr", "th", "td"}
    ALLOWED |= {"article", "header", "time", "b", "span", "ul", "li"}

    def __init__(self):
        super().__init__()
        self.messages, self.open = {}, []

    def handle_starttag(self, tag, attributes):
        assert tag in self.ALLOWED, tag
        for name, value in attributes:
            assert name in {"href", "id", "class", "dir", "lang", "charset", "content", "name", "http-equiv"}, name
            assert name != "href" or re.fullmatch(r"(\.\./)?(index|conversations/[0-9-]+)\.html", value), value
        if tag == "article":
            self.messages[int(dict(attributes)["id"][1:])] = []
        self.open.append(tag)
        if tag == "p" and self.messages and "article" in self.open:
            list(self.messages.values())[-1].append("")
        if tag == "meta":
            self.open.pop()

    def handle_endtag(self, tag):
        same(self.open.pop(), tag, "the element that ends")

    def handle_data(self, data):
        if self.open[-1:] == ["p"] and "article" in self.open:
            list(self.messages.values())[-1][-1] += data


def visible(text):
    """As texts for people show what is no letter."""
    def show(character):
        code = ord(character)
        if character == "\n":
            return character
        if character == "\t":
            return " "
        if code < 32:
            return chr(0x2400 + code)
        if code == 127:
            return "␡"
        hidden = 0x80 <= code <= 0x9F or code in (0x200E, 0x200F) or 0x2028 <= code <= 0x202E or 0x2066 <= code <= 0x2069
        return f"<U+{code:04X}>" if hidden else character
    return "".join(map(show, text))


def words(truth):
    return f"{truth['subject']}: {truth['body'] or ''}" if truth["subject"] else truth["body"] or ""


def pages():
    found = {}
    for path in sorted(DIRECTORY.rglob("*.html")):
        page = Page()
        page.feed(path.read_text("utf-8"))
        same(page.open, [], f"open elements of {path}")
        assert not found.keys() & page.messages.keys()
        found.update(page.messages)
    all_there(found)
    for number, paragraphs in found.items():
        if TRUTH[number]["kind"] in PLAIN:
            same("\n".join(paragraphs), visible(words(TRUTH[number])), f"the words of {number}")


def pdf():
    text = ""
    for path in sorted(DIRECTORY.rglob("*.pdf")):
        run = subprocess.run(["pdftotext", "-enc", "UTF-8", path, "-"], check=True, capture_output=True)
        assert not run.stderr, run.stderr
        text += run.stdout.decode("utf-8")
    text = re.sub(r"Volume \d+ · page \d+ of \d+ · SHA-256 of its messages [^\n]*\n", "", text)
    all_there(int(number) for number in re.findall(r"^\d\d:\d\d:\d\d\.\d{6} #(\d+) ", text.replace("\f", ""), re.MULTILINE))
    # pdftotext takes a hyphen at the end of a line for one that parts a word.
    squeezed = re.sub(r"\[U\+([0-9A-F]{4,6})\]", lambda match: chr(int(match[1], 16)), re.sub(r"[\s-]", "", text))
    for number, truth in TRUTH.items():
        said = re.sub(r"[\s-]", "", visible(words(truth)))
        is_simple = all(ord(character) < 0x300 or 0x2400 <= ord(character) < 0x2440 for character in said)
        if truth["kind"] in PLAIN and is_simple:
            assert said in squeezed, f"{number}: {said[:200]!r} is not in the text"


def rsmf():
    found = {}
    for path in sorted(DIRECTORY.rglob("*.rsmf")):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.strict)
        assert not message.defects, message.defects
        same(message["X-RSMF-Version"], "2.0.0", "the version")
        (attachment,) = message.iter_attachments()
        same((attachment.get_filename(), attachment["Content-Transfer-Encoding"]), ("rsmf.zip", "base64"), "the attachment")
        archive = zipfile.ZipFile(io.BytesIO(attachment.get_payload(decode=True)))
        assert archive.testzip() is None
        same(archive.namelist(), ["rsmf_manifest.json"], "files in the zip")
        manifest = json.loads(archive.read("rsmf_manifest.json"))
        people = [person["id"] for person in manifest["participants"]]
        same(len(people), len(set(people)), "ids of participants")
        (conversation,) = manifest["conversations"]
        assert conversation["platform"] and conversation["type"] in ("direct", "channel") and set(conversation["participants"]) <= set(people)
        same(int(message["X-RSMF-EventCount"]), len(manifest["events"]), "events")
        ids = {event["id"] for event in manifest["events"] if "id" in event}
        for event in manifest["events"]:
            assert event["type"] in ("message", "unknown", "join", "leave") and event["conversation"] == conversation["id"]
            assert event["participant"] in people and event.get("parent", next(iter(ids))) in ids
            for edit in event.get("edits", []):
                assert edit["participant"] in people and edit["timestamp"]
            for reaction in event.get("reactions", []):
                assert reaction["value"] and reaction["count"] == len(reaction["participants"])
            assert all(pair["name"] and pair["value"] for pair in event["custom"])
            if event["type"] in ("message", "unknown"):
                number = int(event["id"][1:])
                assert number not in found
                found[number] = event
    all_there(found)
    for number, event in found.items():
        same(event["timestamp"], TRUTH[number]["sent_at"], f"the time of {number}")
        if TRUTH[number]["kind"] in PLAIN:
            same(event["body"], words(TRUTH[number]), f"the words of {number}")


def dat():
    text = (DIRECTORY / "loadfile.dat").read_bytes().decode("utf-8-sig")
    lines = text.split("\r\n")
    same(lines.pop(), "", "what stands behind the last line")
    rows = [[field.removeprefix("þ").removesuffix("þ") for field in line.split("\x14")] for line in lines]
    assert all(line.count("þ") == 2 * len(rows[0]) for line in lines)
    heading, found = rows[0], {}
    for row in rows[1:]:
        same(len(row), len(heading), "fields")
        record = dict(zip(heading, row))
        number = int(record["MESSAGEID"])
        found[number] = record
        same(record["BEGDOC"], f"XA{number:012}", "the control number")
        for name in ("TEXTPATH", "NATIVEPATH"):
            assert (DIRECTORY / record[name].replace("\\", "/")).is_file(), record[name]
        assert f" #{number} " in (DIRECTORY / record["TEXTPATH"].replace("\\", "/")).read_text("utf-8")
        if TRUTH[number]["kind"] in PLAIN:
            said = re.sub("\r\n|\r|\x85|\u2028|\u2029", "\n", words(TRUTH[number]))
            shown = "".join(chr(0x2400 + ord(one)) if ord(one) < 32 and one not in "\n\t" else one for one in said)
            same(record["BODY"], shown.replace("\t", " ").replace("®", "(R)").replace("þ", "th").replace("\n", "®"), f"the words of {number}")
    all_there(found)
    eml("natives")


def xml_():
    tree = xml.etree.ElementTree.parse(DIRECTORY / "messages.xml")
    same(tree.getroot().tag, "FileDump", "the root")
    found = {}
    for conversation in tree.getroot():
        same(conversation.tag, "Conversation", "a child of the root")
        entered = {element.findtext("LoginName") for element in conversation.iter("ParticipantEntered")}
        same(entered, {element.findtext("LoginName") for element in conversation.iter("ParticipantLeft")}, "who left")
        for message in conversation.iter("Message"):
            number = int(message.findtext("MessageId"))
            assert number not in found and message.findtext("LoginName") in entered | {"unknown"}
            found[number] = message
    all_there(found)
    for number, message in found.items():
        same(message.findtext(f"{OURS}SentAt"), TRUTH[number]["sent_at"], f"the time of {number}")
        if TRUTH[number]["kind"] in PLAIN:
            legal = lambda one: chr(0x2400 + ord(one)) if ord(one) < 32 and one not in "\t\n\r" else "\ufffd" if one in "\ufffe\uffff" else one
            same(message.findtext("Content"), "".join(map(legal, words(TRUTH[number]))), f"the words of {number}")


def manifest():
    account = json.loads((DIRECTORY / "manifest.json").read_text("utf-8"))
    same(account["checked"]["query_finds"], len(TRUTH), "what the query finds")
    same(account["counts"]["messages"], len(TRUTH), "what was written")
    kinds = {}
    for record in TRUTH.values():
        kinds[record["kind"]] = kinds.get(record["kind"], 0) + 1
    same(account["counts"]["by_kind"], kinds, "the kinds")
    there = {str(path.relative_to(DIRECTORY)) for path in DIRECTORY.rglob("*") if path.is_file()}
    same({entry["name"] for entry in account["files"]} | {"manifest.json", "SHA256SUMS"}, there, "the files")
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=DIRECTORY, check=True)


manifest()
{"jsonl": jsonl, "csv": csv_, "eml": eml, "mbox": mbox, "html": pages, "pdf": pdf, "rsmf": rsmf, "dat": dat, "xml": xml_}[FORMAT]()
