//! Families of metrics: one name and help text, any number of samples that differ in their labels.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;

/// What tells one sample of a family from another.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Writes families one after the other.
pub(super) struct Families<'e>(DescriptorEncoder<'e>);

impl<'e> Families<'e> {
    pub(super) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    /// Only grows; its name gets `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    /// The same for what is no whole number.
    pub(super) fn counter_f64(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
    }

    pub(super) fn histogram<'h>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'h Histogram)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples.into_iter().map(|(labels, histogram)| (labels, histogram.clone())))
    }

    fn family<M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl Iterator<Item = (Labels, M)>,
    ) -> fmt::Result {
        // OpenMetrics wants no full stop of ours: the library puts one.
        let mut family = self.0.encode_descriptor(name, help.trim_end_matches('.'), None, kind)?;
        for (labels, metric) in samples {
            // Without labels there is one sample, and the braces around none would be wrong.
            if labels.is_empty() {
                return metric.encode(family);
            }
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
