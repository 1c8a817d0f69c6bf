//! What Prometheus reads: the text of the metrics, taken apart as strictly as OpenMetrics is written.

use std::collections::BTreeMap;

/// One page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// The families with their kinds.
    pub(crate) families: BTreeMap<String, String>,
    /// The samples, by name with labels as they stand.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    pub(crate) fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape::default();
        assert!(text.ends_with("# EOF\n"), "the end of the page: {text}");
        for line in text.lines() {
            match line.strip_prefix("# ") {
                Some(comment) => scrape.comment(comment),
                None => scrape.sample(line),
            }
        }
        scrape
    }

    fn comment(&mut self, comment: &str) {
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("TYPE"), Some(name), Some(kind)) => {
                let before = self.families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} stands twice");
            }
            (Some("HELP"), Some(_), Some(help)) => assert!(!help.is_empty()),
            (Some("EOF"), None, None) => {}
            _ => panic!("{comment}"),
        }
    }

    fn sample(&mut self, line: &str) {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
        let bare = name.split('{').next().expect("a name");
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let known = suffixes.iter().any(|suffix| bare.strip_suffix(suffix).is_some_and(|family| self.families.contains_key(family)));
        assert!(known, "no family: {line}");
        assert_eq!(self.samples.insert(name.to_owned(), value), None, "{name} stands twice");
    }

    /// The value of a sample, `name{label="value"}`.
    pub(crate) fn value(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("{sample} is not among {:#?}", self.samples.keys()))
    }

    /// The sum over all samples that begin so.
    pub(crate) fn sum(&self, begin: &str) -> f64 {
        self.samples.iter().filter(|(name, _)| name.starts_with(begin)).map(|(_, value)| value).sum()
    }

    /// Whether a query can find a metric of this name.
    pub(crate) fn has(&self, metric: &str) -> bool {
        let ends = |kind: &str| match kind {
            "counter" => ["_total"].as_slice(),
            "histogram" => ["_bucket", "_sum", "_count"].as_slice(),
            _ => [""].as_slice(),
        };
        self.families.iter().any(|(family, kind)| ends(kind).iter().any(|end| metric.strip_suffix(end) == Some(family)))
    }
}
