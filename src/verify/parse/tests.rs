//! Files that are right, and what is said about those that are not.

use std::time::Duration;

use super::super::fixture::read;
use super::super::matcher::Matcher;
use super::super::spec::{Bound, CaptureSource};
use super::super::template::{Piece, Random};
use super::*;

#[test]
fn everything_a_file_can_say_is_read() {
    let suite = read(
        r#"
deadline: 10s
checks:
  - name: stores a birthday
    request:
      method: PUT
      path: "/hello/{{random.letters}}"
      headers: { a: b, x-level: "{{stack.values.log_level}}" }
      query: { k: v, limit: 2 }
      json: { dateOfBirth: "1990-01-01", replicas: "{{values.replicas}}" }
      timeout: 2s
    expect: { status: [201, 204], headers: { content-type: { contains: json } } }
    capture: { id: "$.id", place: { header: location } }
    retry: false
  - name: reads it
    request: { port: metrics, path: "/{{captures.id}}" }
    expect:
      status: 200
      json: { "$.message": { contains: Hello, not: { matches: "^x" } } }
      body: { exists: true }
      duration: { below: 500ms }
  - name: uploads
    request: { method: POST, path: /upload, multipart: { image: { file: smoke/pixel.png, type: image/png }, note: hi } }
"#,
    )
    .unwrap();

    assert_eq!(suite.deadline, Duration::from_secs(10));
    let [first, second, third] = &suite.checks[..] else {
        panic!("three checks")
    };

    assert_eq!(
        (first.name.as_str(), first.retry),
        ("stores a birthday", false)
    );
    assert_eq!(first.request.method, Method::PUT);
    assert_eq!(first.request.port.as_str(), "http", "the default");
    assert_eq!(first.request.timeout, Duration::from_secs(2));
    assert_eq!(
        first.request.path,
        Template::Text(vec![
            Piece::Text("/hello/".into()),
            Piece::Random(Random::Letters)
        ])
    );
    assert_eq!(
        first.request.headers[1],
        (
            HeaderName::from_static("x-level"),
            Template::Value("info".into())
        )
    );
    let Body::Json(Template::Map(body)) = &first.request.body else {
        panic!("a JSON body")
    };
    assert_eq!(body[1], ("replicas".into(), Template::Value(2.into())));
    assert_eq!(first.expect.status.codes, [201, 204]);
    assert!(matches!(
        first.expect.headers[0].1.matcher,
        Matcher::Contains(_)
    ));
    assert!(matches!(
        first.captures["id"].source,
        CaptureSource::Json(_)
    ));
    assert!(matches!(
        first.captures["place"].source,
        CaptureSource::Header(_)
    ));

    assert_eq!(second.request.port.as_str(), "metrics");
    assert_eq!(second.request.method, Method::GET);
    assert_eq!(
        second.request.timeout,
        Duration::from_secs(5),
        "the default"
    );
    assert!(second.retry, "the default");
    let Matcher::All(matchers) = &second.expect.json[0].1.matcher else {
        panic!("two matchers")
    };
    assert!(matches!(
        matchers[..],
        [Matcher::Contains(_), Matcher::Not(_)]
    ));
    let limit = &second.expect.duration[0];
    assert_eq!(
        (limit.bound, limit.duration),
        (Bound::Below, Duration::from_millis(500))
    );

    assert!(third.expect.status.codes.is_empty(), "any 2xx");
    let Body::Multipart(parts) = &third.request.body else {
        panic!("a form")
    };
    let Content::File {
        file_name,
        media_type,
        bytes,
    } = &parts[0].content
    else {
        panic!("a file")
    };
    assert_eq!(
        (file_name.as_str(), media_type.as_str()),
        ("pixel.png", "image/png")
    );
    assert_eq!(bytes.as_ref(), b"\x89PNG");
}

#[test]
fn a_file_without_deadline_has_thirty_seconds() {
    let suite = read("checks: []").unwrap();
    assert_eq!(suite.deadline, Duration::from_secs(30));
}

/// `line:column message [hint]` of every problem.
fn problems(text: &str) -> Vec<String> {
    read(text)
        .unwrap_err()
        .iter()
        .map(|problem| {
            let place = problem.labels[0].span.position();
            let hints: String = problem.hints.iter().map(|h| format!(" [{h}]")).collect();
            format!("{}:{} {}{hints}", place.line, place.column, problem.message)
        })
        .collect()
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let text = "\
deadline: soon
checks:
  - name: one
    request: { methd: PUT, path: /x }
    expect: { status: 999 }
  - name: one
    request: { path: hello, port: htp }
    expect: { json: { id: 1 }, body: { matches: '(' } }
  - request: { path: '/{{captures.id}}' }
";
    assert_eq!(
        problems(text),
        [
            "1:11 `deadline` must be a duration such as `500ms`, `30s` or `5m`",
            "4:16 unknown key `methd` in `request` [did you mean `method`?]",
            "5:23 a status is a number from 100 to 599 [without `status`, any 2xx is right]",
            "7:35 service `birthday` has no port `htp` [did you mean `http`?]",
            "7:22 a path starts with `/`",
            "8:23 bad JSON path `id`",
            "8:49 bad regular expression",
            "9:5 `name` is missing [say what the check proves: `name: stores a birthday`]",
            "9:22 `{{captures.id}}`: no earlier check captures that [known here: random.uuid, \
             random.letters, random.digits, secrets.api-key, secrets.login, \
             stack.values.log_level, env.values.domain, values.greeting, values.nothing, \
             values.replicas]",
        ]
    );
}

#[track_caller]
fn one_problem(check: &str, expected: &str) {
    let text = format!("checks:\n- name: a\n  {}\n", check.replace('\n', "\n  "));
    assert_eq!(problems(&text), [expected]);
}

#[test]
fn two_checks_of_one_name_are_refused() {
    assert_eq!(
        problems(
            "checks:\n- { name: a, request: { path: /x } }\n- { name: a, request: { path: /y } }"
        ),
        ["3:11 two checks are called `a`"]
    );
}

#[test]
fn what_is_missing_or_of_another_type_is_named() {
    assert_eq!(problems("deadline: 3s"), ["1:1 `checks` is missing"]);
    assert_eq!(problems("checks: {}"), ["1:9 `checks` must be a list"]);
    assert_eq!(problems("checks: [1]"), ["1:10 a check must be a map"]);
    assert_eq!(
        problems("check: []\nchecks: []"),
        ["1:1 unknown key `check` in smoke.yaml [did you mean `checks`?]"]
    );
    one_problem("expect: {}", "2:3 `request` is missing");
    one_problem("request: { port: http }", "3:12 `path` is missing");
    one_problem("request: { path: 5 }", "3:20 `path` must be a string");
    one_problem(
        "request: { path: /x }\nretry: 3",
        "4:10 `retry` must be true or false",
    );
    one_problem(
        "request: { path: /x, method: put }",
        "3:32 `put` is no HTTP method [methods are written like GET, PUT, POST, PATCH, DELETE]",
    );
}

#[test]
fn needs_are_services_and_what_a_skipped_check_captures_is_not_there() {
    one_problem(
        "request: { path: /x }\nneeds: [birthday, mailr]",
        "4:21 there is no service `mailr` [did you mean `mailer`?]",
    );
    one_problem(
        "request: { path: /x }\nneeds: mailer",
        "4:10 `needs` must be a list",
    );
    let mail = "- { name: mail, needs: [mailer], request: { path: /x }, capture: { id: $ } }";
    let used = problems(&format!(
        "checks:\n{mail}\n- {{ name: b, request: {{ path: '/{{{{captures.id}}}}' }} }}"
    ));
    assert_eq!(used.len(), 1, "{used:?}");
    assert!(used[0].contains("captures.id"), "{used:?}");
}

#[test]
fn bodies_are_checked() {
    one_problem(
        "request: { path: /x, json: {}, body: x }",
        "3:34 a request has one of `json`, `body` and `multipart`",
    );
    one_problem(
        "request: { path: /x, multipart: { f: { file: ../secret } } }",
        "3:48 a file lies in the service's folder [write its path relative to that, without `..`]",
    );
    one_problem(
        "request: { path: /x, multipart: { f: { file: none.png } } }",
        "3:48 cannot read `none.png`: entity not found",
    );
}

#[test]
fn expectations_are_checked() {
    one_problem(
        "request: { path: /x }\nexpect: { json: { $.a: { b: 1 } } }",
        "4:28 unknown key `b` in a matcher [known keys: equals, contains, matches, exists, above, \
         below, not] [to compare with a map, write it under `equals`]",
    );
    one_problem(
        "request: { path: /x }\nexpect: { body: { above: x } }",
        "4:28 this must be a number",
    );
    one_problem(
        "request: { path: /x }\nexpect: { duration: { below: 3 } }",
        "4:32 a limit must be a duration such as `500ms`, `30s` or `5m`",
    );
    one_problem(
        "request: { path: /x }\nexpect: { headers: { 'a b': x } }",
        "4:24 `a b` is no name of a header",
    );
}

#[test]
fn the_reason_of_a_bad_pattern_is_told() {
    let found =
        read("checks: [{ name: a, request: { path: / }, expect: { body: { matches: 'a(b' } } }]")
            .unwrap_err();
    assert_eq!(found[0].notes, ["unclosed group"]);
}
