//! A registry that goes away in the middle of a push: the push goes on where it can, else it is explained; what is
//! not there whole is not there at all.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::shop::{Random, Shop, test_registry};

/// A way to the registry that breaks connections in the middle.
struct Bridge {
    address: String,
    /// How many connections that send much will still be broken.
    cuts: Arc<AtomicUsize>,
}

/// Requests without a blob are shorter; the blob of the test is longer.
const MUCH: usize = 512 << 10;

impl Bridge {
    fn to(registry: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (registry, cuts) = (registry.clone(), Arc::clone(&counted));
                std::thread::spawn(move || {
                    let far = TcpStream::connect(registry).expect("the registry answers");
                    carry(&near, &far, &cuts);
                });
            }
        });
        Self { address, cuts }
    }

    fn cut(&self, times: usize) {
        self.cuts.store(times, Ordering::SeqCst);
    }
}

fn carry(near: &TcpStream, far: &TcpStream, cuts: &AtomicUsize) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::io::copy(&mut &*far, &mut &*near).ok();
            near.shutdown(Shutdown::Both).ok();
        });
        let (mut piece, mut carried) = (vec![0; 64 << 10], 0);
        while let Ok(length @ 1..) = (&*near).read(&mut piece) {
            carried += length;
            let broken = carried > MUCH && take_one(cuts);
            if broken || (&*far).write_all(&piece[..length]).is_err() {
                near.shutdown(Shutdown::Both).ok();
                break;
            }
        }
        far.shutdown(Shutdown::Both).ok();
    });
}

fn take_one(cuts: &AtomicUsize) -> bool {
    cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    })
    .is_ok()
}

#[test]
#[ignore = "needs Docker and a cluster: run `cargo xtask test`"]
fn a_push_outlives_cut_connections_and_is_explained_where_it_cannot() {
    let bridge = Bridge::to(test_registry());
    let (shop, mut random) = (Shop::at(&bridge.address), Random::seeded());
    let clean = Shop::clone_of(&shop);
    let edit = |content: &[u8]| {
        shop.fill(content);
        clean.fill(content);
        clean.built_anew("bulk")
    };
    let push = ["build", "--service", "bulk", "--to", "registry"];

    let (name, known) = edit(&random.bytes(4 << 20));
    bridge.cut(2);
    let run = shop.run(&push);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(bridge.cuts.load(Ordering::SeqCst), 0, "it was cut");
    assert_eq!(shop.names().registry[&name], known.manifest);
    shop.pull(&name);

    let (name, known) = edit(&random.bytes(4 << 20));
    bridge.cut(usize::MAX);
    let run = shop.run(&push);
    assert_eq!(run.code, 1, "{}", run.stderr);
    for words in ["error[S05", bridge.address.as_str(), "hint:"] {
        assert!(
            run.stderr.contains(words),
            "{words:?} is missing in\n{}",
            run.stderr
        );
    }
    bridge.cut(0);
    assert!(!shop.names().registry.contains_key(&name));
    let run = shop.run(&push);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(shop.names().registry[&name], known.manifest);
    shop.pull(&name);
}
