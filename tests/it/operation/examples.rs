//! The examples for Prometheus and Grafana name only metrics that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{HTTP, archiver, http, lines, prosody, scrape};

const DASHBOARD: &str = include_str!("../../../examples/grafana/xmpp-archiver.json");
const RULES: &str = include_str!("../../../examples/prometheus/alerts.yml");

/// Every name of a metric of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with("xmpp_archiver_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// The queries of a dashboard's panels, wherever they stand.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| queries(field, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

#[test]
fn the_examples_name_only_metrics_that_there_are() {
    let mut node = prosody();
    let mut archiver = archiver(&node, HTTP);
    archiver.start();
    node.accept();
    node.mirror(&lines("measured", 3));
    archiver.wait_until_stored();
    let page = scrape(&http(&archiver));
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let mut expressions = Vec::new();
    queries(&dashboard, &mut expressions);
    assert!(expressions.len() >= 15, "{expressions:?}");
    let expressions_of_rules: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert!(expressions_of_rules.len() >= 10, "{expressions_of_rules:?}");
    let named = names(&(expressions.join("\n") + "\n" + &expressions_of_rules.join("\n")));
    assert!(named.len() >= 20, "{named:?}");
    let missing: Vec<&String> = named.iter().filter(|name| !page.has(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {:#?}", page.families);
}
