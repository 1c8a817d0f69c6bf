//! Chromium without a window, spoken to over its debugging pipe: it loads pages, tells what they asked for and complained of, and photographs them.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::process::{Directory, Process, command, program, run};

/// A browser with one page.
#[derive(Debug)]
pub(crate) struct Browser {
    commands: File,
    answers: BufReader<File>,
    session: String,
    last: u64,
    events: Vec<Value>,
    _process: Process,
    _directory: Directory,
}

/// What a page did while it was loaded.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    /// Everything that it asked for.
    pub(crate) requests: Vec<String>,
    /// What the console says: violations of the policy, errors.
    pub(crate) complaints: Vec<String>,
    /// How wide the page is, and how wide the window.
    pub(crate) widths: (i64, i64),
}

impl Browser {
    pub(crate) fn new() -> Browser {
        let chromium = program("chromium").expect("chromium is installed (script/test sees to that)");
        let directory = Directory::new(None);
        let [commands, answers] = ["commands", "answers"].map(|name| directory.path().join(name));
        let mut mkfifo = Command::new("mkfifo");
        mkfifo.args([&commands, &answers]);
        run(mkfifo);
        let mut shell = command(None, "bash");
        shell.args(["-c", "exec \"$@\" 3<\"$COMMANDS\" 4>\"$ANSWERS\"", "browser"]).arg(chromium);
        shell.args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        shell.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]);
        shell.arg(format!("--user-data-dir={}", directory.path().join("profile").display())).arg("about:blank");
        shell.env("COMMANDS", &commands).env("ANSWERS", &answers);
        let process = Process::spawn(shell, &directory.path().join("log"));
        let commands = File::options().write(true).open(commands).expect("the way to the browser");
        let answers = BufReader::new(File::open(answers).expect("the way from the browser"));
        let mut browser =
            Browser { commands, answers, session: String::new(), last: 0, events: Vec::new(), _process: process, _directory: directory };
        let target = browser.command("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.command("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Network", "Log", "Runtime"] {
            browser.command(&format!("{domain}.enable"), &json!({}));
        }
        browser
    }

    /// The size of the window; the colours that its user likes.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        self.command(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 }),
        );
        self.command("Emulation.setEmulatedMedia", &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }));
    }

    /// Takes every certificate, such as those of a test's own authority.
    pub(crate) fn trust_everybody(&mut self) {
        self.command("Security.setIgnoreCertificateErrors", &json!({ "ignore": true }));
    }

    /// A cookie for an address.
    pub(crate) fn cookie(&mut self, url: &str, name: &str, value: &str) {
        self.command("Network.setCookie", &json!({ "url": url, "name": name, "value": value, "httpOnly": true, "sameSite": "Lax" }));
    }

    /// Loads a page and waits until it is there.
    pub(crate) fn visit(&mut self, url: &str) -> Visit {
        self.events.clear();
        self.command("Page.navigate", &json!({ "url": url }));
        self.loaded()
    }

    /// Does something in the page that leads to another one, and waits until that is there.
    pub(crate) fn go(&mut self, expression: &str) -> Visit {
        self.events.clear();
        self.command("Runtime.evaluate", &json!({ "expression": expression }));
        self.loaded()
    }

    fn loaded(&mut self) -> Visit {
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.read();
            self.events.push(event);
        }
        let widths = self.evaluate("JSON.stringify([document.documentElement.scrollWidth, document.documentElement.clientWidth])");
        let widths: (i64, i64) = serde_json::from_str(widths.as_str().expect("widths")).expect("numbers");
        let mut visit = Visit { widths, ..Visit::default() };
        for event in &self.events {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Network.requestWillBeSent" => visit.requests.push(params["request"]["url"].as_str().unwrap_or_default().to_owned()),
                "Log.entryAdded" => visit.complaints.push(params["entry"].to_string()),
                "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => {
                    visit.complaints.push(params.to_string())
                }
                _ => {}
            }
        }
        visit
    }

    /// What an expression is in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        self.command("Runtime.evaluate", &json!({ "expression": expression }))["result"]["value"].clone()
    }

    /// Photographs the page, all of it up to a height.
    pub(crate) fn photograph(&mut self, file: &Path, width: u32, most: u32) {
        let height = self.evaluate("document.documentElement.scrollHeight").as_u64().unwrap_or(800).min(u64::from(most));
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let photo = self.command("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true, "clip": clip }));
        let bytes = STANDARD.decode(photo["data"].as_str().expect("a picture")).expect("base64");
        std::fs::write(file, bytes).expect("write the picture");
    }

    fn command(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut command = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            command["sessionId"] = Value::from(self.session.as_str());
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).expect("the browser listens");
        loop {
            let answer = self.read();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.answers.read_until(0, &mut bytes).expect("the browser answers");
        assert_eq!(bytes.pop(), Some(0), "the browser is gone");
        serde_json::from_slice(&bytes).expect("JSON")
    }
}
