//! Tests of the page: it is well formed, says what was measured, and nothing in it comes from elsewhere.

use proptest::prelude::*;

use super::super::Step;
use super::super::run::tests::{example, ms, span};
use super::*;

fn page(run: &Run) -> String {
    Page {
        title: "stackctl up staging",
        started: Timestamp::from_second(1_714_564_800).unwrap(),
        facts: &[("processors", "2".to_owned())],
        run,
    }
    .to_html()
}

/// Tags without an end.
const VOID: [&str; 6] = ["meta", "rect", "line", "path", "!doctype", "br"];

/// Every tag is closed in turn, and no text holds what would be one.
fn check(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/'])
            .next()
            .unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{}", &rest[..rest.len().min(80)]);
        } else if !VOID.contains(&name) {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_page_says_what_was_measured() {
    let page = page(&example());
    check(&page);
    for text in [
        "<title>stackctl up staging · 10.10 s</title>",
        "2024-05-01 12:00:00 UTC",
        "<div><dt>compile on the critical path</dt><dd>50 %</dd></div>",
        "<div><dt>processors</dt><dd>2</dd></div>",
        "<tr><th scope=\"row\">ready</th><td class=\"text\">b</td><td>6.50 s</td><td>3.50 s</td><td>35 %</td></tr>",
        "<tr><th scope=\"row\">a</th><td></td><td></td><td>0.10 s</td><td>2.80 s</td><td>1.00 s</td></tr>",
        "<tr><th scope=\"row\">serde 1.0.2</th><td>0.20 s</td><td>3.80 s</td></tr>",
        "1 units, 1.0 at a time on average",
        ">compile 5.00 s</text>",
    ] {
        assert!(page.contains(text), "{text}");
    }
    // From 100 to 5100 of 10100 ms, 968 pixels wide behind the names.
    assert!(page.contains(
        r#"<rect class="s-compile" x="159.6" y="48.5" width="479.2" height="19.0" rx="2"/>"#
    ));
    assert_eq!(page.matches(r#"<g class="bar critical">"#).count(), 5);
}

#[test]
fn the_page_needs_nothing_else_and_is_the_same_each_time() {
    let text = page(&example());
    assert_eq!(text, page(&example()));
    for foreign in [
        "http://", "https://", "<script", "<link", "src=", "@import", "url(",
    ] {
        assert!(!text.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_run_without_spans_has_a_page() {
    let page = page(&Run::new(Vec::new(), Duration::ZERO));
    check(&page);
    assert!(page.contains("Nothing was measured."));
}

#[test]
fn every_step_has_a_colour() {
    let steps = [
        Step::Inputs,
        Step::Download,
        Step::Compile,
        Step::Build,
        Step::Assemble,
        Step::Attest,
        Step::Load,
        Step::Push,
        Step::Plan,
        Step::Apply,
        Step::Ready,
        Step::Smoke,
    ];
    for step in steps {
        assert!(STYLE.contains(&format!(".s-{step} {{")), "{step}");
    }
}

proptest! {
    #[test]
    fn names_stay_text(name in "\\PC{0,30}|<script>|\"'&<>[\u{0}-\u{1f}]", unit in prop::option::of("\\PC{0,30}"), times in (0u64..9, 0u64..9)) {
        let mut spans = vec![span(0, "a", Step::Push, times), span(1, &name, Step::Load, (0, 3))];
        spans[1].unit = unit;
        let text = Page {
            title: &name,
            started: Timestamp::UNIX_EPOCH,
            facts: &[(&name, name.clone())],
            run: &Run::new(spans, ms(9)),
        }
        .to_html();
        check(&text);
        prop_assert!(!text.contains("<script"));
    }
}
