//! The times of a run for programs: one document with `version`, raised when a field changes its meaning or goes.

use std::time::Duration;

use serde_json::{Value, json};

use super::run::{Run, Span};

/// Of the document.
const VERSION: u32 = 1;

impl Run {
    /// The document; times in milliseconds from the start of the run, to the microsecond.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let path: Vec<Value> = self
            .critical_path()
            .iter()
            .map(|link| json!({ "span": link.span.id.0, "from": ms(link.from), "to": ms(link.to) }))
            .collect();
        let shares: Vec<Value> = self
            .shares()
            .iter()
            .map(|share| {
                // Four digits: a share is not measured better.
                let part = (share.part * 10_000.0).round() / 10_000.0;
                json!({ "step": share.step.as_str(), "milliseconds": ms(share.time), "share": part })
            })
            .collect();
        json!({
            "version": VERSION,
            "milliseconds": ms(self.total),
            "spans": self.spans.iter().map(span).collect::<Vec<_>>(),
            "criticalPath": path,
            "shares": shares,
        })
    }
}

fn span(span: &Span) -> Value {
    let mut value = json!({
        "id": span.id.0,
        "step": span.step.as_str(),
        "start": ms(span.start),
        "end": ms(span.end),
    });
    if let Some(service) = &span.service {
        value["service"] = json!(service);
    }
    if let Some(unit) = &span.unit {
        value["unit"] = json!(unit);
    }
    value
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::example;
    use super::*;

    #[test]
    fn programs_read_spans_path_and_shares() {
        let document = example().to_json();
        assert_eq!(document["version"], 1);
        assert_eq!(document["milliseconds"], 10_100.0);
        let spans = document["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 9);
        assert_eq!(
            spans[0],
            json!({ "id": 0, "step": "inputs", "start": 0.0, "end": 100.0 })
        );
        assert_eq!(
            spans[2],
            json!({ "id": 2, "step": "compile", "unit": "serde 1.0.2", "start": 200.0, "end": 4000.0 })
        );
        assert_eq!(
            *spans.iter().find(|span| span["id"] == 7).unwrap(),
            json!({ "id": 7, "service": "b", "step": "ready", "start": 6500.0, "end": 10_000.0 })
        );
        let path: Vec<u64> = document["criticalPath"]
            .as_array()
            .unwrap()
            .iter()
            .map(|link| link["span"].as_u64().unwrap())
            .collect();
        assert_eq!(path, [0, 1, 4, 6, 7]);
        assert_eq!(
            document["shares"][0],
            json!({ "step": "compile", "milliseconds": 5000.0, "share": 0.5 })
        );
    }

    #[test]
    fn times_are_rounded_to_the_microsecond() {
        assert_eq!(ms(Duration::from_nanos(1_234_567)), 1.235);
    }
}
