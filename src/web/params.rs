//! What came in a query or a form: names with values, of which a name may come several times.

use form_urlencoded::Serializer;

/// The most values of one request.
pub(super) const MAX_VALUES: usize = 500;

/// Names with values, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>, IsCut);

/// Whether there were more values than are read.
type IsCut = bool;

impl Params {
    /// Reads `a=b&c=d`. What is beyond the limit is left out.
    pub(super) fn parse(text: &[u8]) -> Self {
        let mut values = form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned()));
        let read = values.by_ref().take(MAX_VALUES).collect();
        Self(read, values.next().is_some())
    }

    /// Whether something was left out.
    pub(super) fn is_cut(&self) -> bool {
        self.1
    }

    /// The values of these names alone.
    pub(super) fn only_these(&self, names: &[&str]) -> Self {
        Self(self.0.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect(), false)
    }

    /// The same without names that have no value.
    pub(super) fn without_empty(&self) -> Self {
        Self(self.0.iter().filter(|(_, value)| !value.trim().is_empty()).cloned().collect(), self.1)
    }

    /// The first value of this name, without white space around it; none if that leaves nothing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.trim()).find(|value| !value.is_empty())
    }

    /// A value as it was given, for secrets.
    pub(super) fn exact(&self, name: &str) -> &str {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Every value of this name that is not empty.
    pub(super) fn all<'p>(&'p self, name: &'p str) -> impl Iterator<Item = &'p str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Every name with its value, in their order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value, or nothing.
    pub(super) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// The words between spaces, commas and ends of lines of all values of this name.
    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let is_between = |c: char| c == ',' || c == ';' || c.is_whitespace();
        self.all(name).flat_map(|value| value.split(is_between)).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// The same as a query, without some names and what is empty, and with one value more.
    pub(super) fn query(&self, without: &[&str], with: Option<(&str, &str)>) -> String {
        let kept = self.0.iter().filter(|(name, value)| !value.is_empty() && !without.contains(&name.as_str()));
        let mut query = Serializer::new(String::new());
        query.extend_pairs(kept);
        query.extend_pairs(with);
        query.finish()
    }
}

/// A link: a path with values.
pub(super) fn link(path: &str, values: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(values.iter().filter(|(_, value)| !value.is_empty())).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written_again() {
        let params = Params::parse(b"q=a+b&who=x%40y%2C+z&who=+&kind=1&kind=3&after=9");
        assert_eq!((params.get("q"), params.get("none"), params.get("who")), (Some("a b"), None, Some("x@y, z")));
        assert_eq!(params.words("who"), ["x@y", "z"]);
        assert_eq!(params.all("kind").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(params.query(&["after", "who"], Some(("after", "&"))), "q=a+b&kind=1&kind=3&after=%26");
        assert_eq!(params.only_these(&["kind", "none"]).query(&[], None), "kind=1&kind=3");
        assert_eq!(params.without_empty().words("who"), ["x@y", "z"]);
        assert!(!params.is_cut() && Params::parse("a=b&".repeat(MAX_VALUES + 1).as_bytes()).is_cut());
        assert_eq!(link("/a", &[("b", "c d"), ("e", "")]), "/a?b=c+d");
    }
}
