//! The program of a service as Kubernetes runs it: environment, log, answers, signals, exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::http::Answer;

/// The `x-request-id` of all that [`Program::ask`] asks.
pub const REQUEST_ID: &str = "id-1";
/// Longer than any service takes for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A running service on a free port. Ends with the value.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: BufReader<ChildStdout>,
    address: SocketAddr,
    before_serving: Vec<Value>,
}

/// What was left of a program that would not start.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// None where a signal ended it.
    pub exit_code: Option<i32>,
    /// Its last words, on stderr.
    pub message: String,
}

impl Program {
    /// Starts `path` (`env!("CARGO_BIN_EXE_…")`) with these variables and no others but `PORT=0`, and waits until it
    /// serves.
    ///
    /// # Panics
    /// When it ends instead, or logs a line that is no JSON.
    pub fn start(path: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = command(path, variables)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut log = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut before_serving = Vec::new();
        let serving = loop {
            let line = next_line(&mut log).expect("it serves before it ends");
            match line["message"] == "serving" {
                true => break line,
                false => before_serving.push(line),
            }
        };
        let address = serving["address"].as_str().expect("an address");
        let address = address.replace("0.0.0.0", "127.0.0.1");
        Self {
            child,
            log,
            address: address.parse().expect("an address"),
            before_serving,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it logged before it served.
    pub fn before_serving(&self) -> &[Value] {
        &self.before_serving
    }

    /// The next line of its log.
    ///
    /// # Panics
    /// When there is none, or it is no JSON.
    pub fn next_log(&mut self) -> Value {
        next_line(&mut self.log).expect("another line in the log")
    }

    /// The next line of its log with this message.
    ///
    /// # Panics
    /// When there is none, or one before it is no JSON.
    pub fn wait_for_log(&mut self, message: &str) -> Value {
        loop {
            let line = next_line(&mut self.log);
            let line = line.unwrap_or_else(|| panic!("no `{message}` in the log"));
            if line["message"] == message {
                return line;
            }
        }
    }

    /// Its answer to a request line such as `GET /readyz`, on a connection of its own.
    ///
    /// # Panics
    /// When there is none, or it is not a whole one.
    pub fn ask(&self, line: &str, json: &str) -> Answer {
        ask(self.address, line, json)
    }

    /// Asks it to end, as Kubernetes does.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn terminate(&self) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status();
        assert!(kill.expect("`kill` runs").success(), "it has ended");
    }

    /// Kills it, as a lack of memory does.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When a signal ended it.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.child.wait().expect("the end of a child can be had");
        status.code().expect("it ends by itself")
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a program that is not to start, with these variables and `PORT=0`.
///
/// # Panics
/// When it cannot be run at all.
pub fn refusal(path: &str, variables: &[(&str, &str)]) -> Refusal {
    let output = command(path, variables).output();
    let output = output.expect("the program can be started");
    Refusal {
        exit_code: output.status.code(),
        message: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// As [`Program::ask`], from a thread of its own.
///
/// # Panics
/// When there is no answer, or not a whole one.
pub fn ask(address: SocketAddr, line: &str, json: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let limited = stream.set_read_timeout(Some(ANSWER_LIMIT));
    limited.expect("a limit can be set");
    let head = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: {REQUEST_ID}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{json}",
        json.len()
    );
    let sent = stream.write_all(head.as_bytes());
    sent.expect("it takes a request");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    read.expect("it answers");
    parse(&answer).unwrap_or_else(|| panic!("not an answer: {}", answer.escape_ascii()))
}

/// An answer that ends with its connection.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let (status, lines) = head.split_once("\r\n")?;
    let status = status.split(' ').nth(1)?;
    let mut headers = HeaderMap::new();
    for line in lines.split("\r\n") {
        let (name, value) = line.split_once(": ")?;
        let name: HeaderName = name.parse().ok()?;
        headers.append(name, HeaderValue::from_str(value).ok()?);
    }
    let body = bytes[end + 4..].to_vec();
    let length = headers.get("content-length");
    let length: Option<usize> = length.and_then(|value| value.to_str().ok()?.parse().ok());
    length
        .is_none_or(|length| length == body.len())
        .then_some(Answer {
            status: StatusCode::from_bytes(status.as_bytes()).ok()?,
            headers,
            body,
        })
}

fn command(path: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("PORT", "0")
        .envs(variables.iter().copied())
        .stdin(Stdio::null());
    command
}

fn next_line(log: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut line = String::new();
    let length = log.read_line(&mut line).expect("the log can be read");
    let json = || serde_json::from_str(&line);
    (length > 0).then(|| json().unwrap_or_else(|_| panic!("a line that is no JSON: {line}")))
}
