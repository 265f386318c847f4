//! JSON paths, as RFC 9535 has them.

use std::fmt;

use jsonpath_rust::parser::model::{JpQuery, Segment, Selector};
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde_json::Value;

/// A path that is known to be well formed.
#[derive(Clone, Debug)]
pub(super) struct JsonPath {
    text: String,
    query: JpQuery,
}

impl JsonPath {
    /// `Err` says what is wrong, in one line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with('$') {
            return Err("a JSON path starts with `$`, such as `$.id`".into());
        }
        match parse_json_path(text) {
            Ok(query) => Ok(Self {
                text: text.to_owned(),
                query,
            }),
            Err(_) => Err(
                "it is no JSON path: names follow a dot (`$.items`), positions and \
                           other names stand in brackets (`$.items[0]['a b']`)"
                    .into(),
            ),
        }
    }

    /// The value at the path. A path that can have several results (`[*]`, `..`, filters, slices) gives
    /// all of them as one list, or nothing where there is none.
    pub(super) fn find(&self, document: &Value) -> Option<Value> {
        let found = js_path_process(&self.query, document).ok()?;
        if self.is_single() {
            found.into_iter().next().map(|result| result.val().clone())
        } else if found.is_empty() {
            None
        } else {
            Some(
                found
                    .into_iter()
                    .map(|result| result.val().clone())
                    .collect(),
            )
        }
    }

    fn is_single(&self) -> bool {
        self.query.segments.iter().all(|segment| {
            matches!(
                segment,
                Segment::Selector(Selector::Name(_) | Selector::Index(_))
            )
        })
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn finds(path: &str, expected: Option<Value>) {
        let document =
            json!({ "id": 7, "items": [{ "n": 1 }, { "n": 2 }], "a b": null, "one": [5] });
        assert_eq!(
            JsonPath::parse(path).unwrap().find(&document),
            expected,
            "{path}"
        );
    }

    #[test]
    fn a_single_place_gives_its_value() {
        finds("$.id", Some(json!(7)));
        finds("$.items[1].n", Some(json!(2)));
        finds("$['a b']", Some(json!(null)));
        finds("$.missing", None);
        finds("$.one", Some(json!([5])));
    }

    #[test]
    fn many_places_give_a_list_however_many_match() {
        finds("$.items[*].n", Some(json!([1, 2])));
        finds("$.one[*]", Some(json!([5])));
        finds("$.items[?@.n > 1].n", Some(json!([2])));
        finds("$.items[?@.n > 9].n", None);
        finds("$..n", Some(json!([1, 2])));
    }

    #[test]
    fn bad_paths_are_refused() {
        for bad in ["id", "", "$.", "$.items[", "$.items[?]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
