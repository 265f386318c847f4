//! Connections over real sockets, with pods that are closures.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt, sink, stream};
use k8s_openapi::jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

type ToPod = mpsc::Receiver<Bytes>;
type FromPod = mpsc::Sender<Result<Bytes, UpstreamError>>;
type Behaviour = Arc<dyn Fn(ToPod, FromPod) + Send + Sync>;

/// Pods by name; a pod that is not there cannot be dialled.
#[derive(Clone, Default)]
struct Pods {
    behaviours: Arc<Mutex<BTreeMap<String, Behaviour>>>,
    dialled: Arc<Mutex<Vec<String>>>,
}

impl Pods {
    fn with<F, Fut>(self, name: &str, behaviour: F) -> Self
    where
        F: Fn(ToPod, FromPod) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let start: Behaviour = Arc::new(move |input, output| {
            tokio::spawn(behaviour(input, output));
        });
        self.behaviours.lock().unwrap().insert(name.into(), start);
        self
    }

    fn dialled(&self) -> Vec<String> {
        self.dialled.lock().unwrap().clone()
    }
}

impl Dial for Pods {
    async fn dial(&self, pod: &str, _port: u16) -> Result<Upstream, UpstreamError> {
        self.dialled.lock().unwrap().push(pod.to_owned());
        let behaviour = self.behaviours.lock().unwrap().get(pod).cloned();
        let behaviour = behaviour.ok_or(UpstreamError::Slow)?;
        let (outgoing, input) = mpsc::channel(1);
        let (output, mut incoming) = mpsc::channel(1);
        behaviour(input, output);
        let outgoing = sink::unfold(outgoing, |pod: mpsc::Sender<Bytes>, bytes| async move {
            let sent = pod.send(bytes).await;
            sent.map_err(|_| UpstreamError::Node("the pod is gone".into()))?;
            Ok(pod)
        });
        Ok(Upstream {
            outgoing: Box::pin(outgoing),
            incoming: stream::poll_fn(move |context| incoming.poll_recv(context)).boxed(),
        })
    }
}

/// Pods named in the order in which they are tried.
fn list(names: &[&str]) -> Vec<ReadyPod> {
    let newest = i64::try_from(names.len()).unwrap();
    (0..)
        .zip(names)
        .map(|(age, name)| ReadyPod {
            name: (*name).into(),
            since: Timestamp::from_second(newest - age).unwrap(),
        })
        .collect()
}

fn limits() -> Limits {
    Limits {
        pod: Duration::from_millis(400),
        dial: Duration::from_millis(200),
        linger: Linger {
            unanswered: Duration::from_secs(2),
            answered: Duration::from_millis(200),
        },
    }
}

type Served = tokio::task::JoinHandle<Result<(), Lost>>;

/// A client's socket whose other end is served.
async fn connect(pods: &Pods, ready: watch::Receiver<Vec<ReadyPod>>) -> (TcpStream, Served) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let route = Route {
        dial: pods.clone(),
        port: 80,
        pods: ready,
        limits: limits(),
    };
    let served = tokio::spawn(async move { route.serve(server).await });
    (client, served)
}

async fn echo(mut input: ToPod, output: FromPod) {
    while let Some(bytes) = input.recv().await {
        if output.send(Ok(bytes)).await.is_err() {
            return;
        }
    }
}

/// As a kubelet answers where nothing listens on the port.
async fn refusing(mut input: ToPod, output: FromPod) {
    let _ = input.recv().await;
    let _ = output
        .send(Err(UpstreamError::Node("Connection refused".into())))
        .await;
}

/// Answers a request only after some time.
async fn slow_answer(mut input: ToPod, output: FromPod) {
    let request = input.recv().await.unwrap();
    sleep(Duration::from_millis(600)).await;
    for part in [b"you said " as &[u8], &request] {
        let _ = output.send(Ok(Bytes::copy_from_slice(part))).await;
        sleep(Duration::from_millis(50)).await;
    }
    // Like a server that keeps the connection for the next request.
    sleep(Duration::from_secs(60)).await;
    drop(output);
}

async fn everything(client: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(5), client.read_to_end(&mut all)).await;
    read.expect("the connection ends").unwrap();
    all
}

#[tokio::test]
async fn a_client_that_has_finished_sending_gets_the_whole_answer() {
    let pods = Pods::default().with("a", slow_answer);
    let (mut client, served) = connect(&pods, watch::channel(list(&["a"])).1).await;
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let start = Instant::now();
    assert_eq!(everything(&mut client).await, b"you said hello");
    served.await.unwrap().unwrap();
    let took = start.elapsed();
    assert!(
        took < Duration::from_millis(1500),
        "the short linger after the answer: {took:?}"
    );
}

#[tokio::test]
async fn a_client_that_has_gone_frees_its_stream_soon() {
    let pods = Pods::default().with("a", echo);
    let (mut client, served) = connect(&pods, watch::channel(list(&["a"])).1).await;
    client.write_all(b"x").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    drop(client);
    let ended = timeout(Duration::from_secs(1), served).await;
    ended.expect("answered: the short linger").unwrap().unwrap();
}

#[tokio::test]
async fn what_was_sent_to_a_pod_that_refused_goes_to_the_next() {
    let pods = Pods::default().with("new", refusing).with("old", echo);
    let ready = watch::channel(list(&["gone", "new", "old"])).1;
    let (mut client, _served) = connect(&pods, ready).await;
    client.write_all(b"once").await.unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"once");
    assert_eq!(pods.dialled(), ["gone", "new", "old"]);
}

#[tokio::test]
async fn a_stream_that_breaks_after_the_request_is_not_repeated() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let pods = Pods::default().with("a", move |mut input: ToPod, output: FromPod| {
        let seen = Arc::clone(&seen);
        async move {
            let _ = input.recv().await;
            seen.fetch_add(1, Ordering::SeqCst);
            let reset = "error copying from remote stream: connection reset by peer";
            let _ = output.send(Err(UpstreamError::Node(reset.into()))).await;
        }
    });
    let (mut client, served) = connect(&pods, watch::channel(list(&["a"])).1).await;
    client.write_all(b"pay").await.unwrap();
    let read = client.read(&mut [0; 8]).await;
    assert_eq!(
        read.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::ConnectionReset),
        "a reset, so that nobody takes it for the end of an answer"
    );
    assert!(matches!(served.await.unwrap(), Err(Lost::Broken { .. })));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_redeploy_is_a_pause() {
    let pods = Pods::default().with("second", echo);
    let (sender, ready) = watch::channel(Vec::new());
    let (mut client, _served) = connect(&pods, ready).await;
    client.write_all(b"hi").await.unwrap();
    sleep(Duration::from_millis(150)).await;
    sender.send(list(&["second"])).unwrap();
    let mut answer = [0; 2];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hi");
}

#[tokio::test]
async fn without_a_pod_the_connection_ends_in_bounded_time() {
    let pods = Pods::default();
    let start = Instant::now();
    let (mut client, served) = connect(&pods, watch::channel(list(&["gone"])).1).await;
    assert!(client.read(&mut [0]).await.is_err());
    assert!(matches!(served.await.unwrap(), Err(Lost::NoPod(Some(_)))));
    let took = start.elapsed();
    assert!(took >= limits().pod && took < limits().pod * 3, "{took:?}");
    assert!(pods.dialled().len() > 2, "it was tried again");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_arrives() {
    let pods = Pods::default().with("a", |mut input: ToPod, output: FromPod| async move {
        let _ = input.recv().await;
        let _ = output.send(Ok(Bytes::from("413"))).await;
        // Neither reads the rest nor closes for a while, then closes.
        sleep(Duration::from_millis(100)).await;
        drop((input, output));
    });
    let (client, served) = connect(&pods, watch::channel(list(&["a"])).1).await;
    let (mut read, mut write) = client.into_split();
    let upload = tokio::spawn(async move {
        let chunk = vec![0; 64 * 1024];
        while write.write_all(&chunk).await.is_ok() {}
    });
    let mut answer = [0; 3];
    read.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"413");
    served.await.unwrap().unwrap();
    drop(read);
    upload.await.unwrap();
}

#[tokio::test]
async fn a_lot_of_data_goes_both_ways_unchanged() {
    const SIZE: usize = 8 * 1024 * 1024 + 17;
    let pods = Pods::default().with("a", echo);
    let (client, _served) = connect(&pods, watch::channel(list(&["a"])).1).await;
    let data: Vec<u8> = (0u32..)
        .map(|n| n.to_le_bytes()[n as usize % 4])
        .take(SIZE)
        .collect();
    let (mut read, mut write) = client.into_split();
    let sent = data.clone();
    let upload = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write
    });
    let mut got = vec![0; SIZE];
    read.read_exact(&mut got).await.unwrap();
    assert!(got == data, "the data is the same");
    upload.await.unwrap();
}
