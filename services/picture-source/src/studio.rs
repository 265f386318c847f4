//! Who may draw when: drawing takes memory and a CPU, and requests come as they like.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Instant;

use service_kit::prometheus_client::metrics::counter::Counter;
use service_kit::prometheus_client::metrics::histogram::Histogram;
use service_kit::prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// How many are drawn at once at most. Each takes 1.5 MB, of the 128 MiB that service.yaml gives.
const MOST: usize = 32;
/// The upper bounds, in seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// As many places as can be of use. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Studio {
    places: Arc<Semaphore>,
    drawn: Counter,
    seconds: Histogram,
}

impl Studio {
    /// A place for each CPU, up to a limit.
    pub(crate) fn new() -> Self {
        Self::with_places(available_parallelism().map_or(1, NonZero::get).min(MOST))
    }

    fn with_places(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            drawn: Counter::default(),
            seconds: Histogram::new(BUCKETS),
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "picture_source_drawn",
            "Pictures that were drawn",
            self.drawn.clone(),
        );
        registry.register(
            "picture_source_drawing_seconds",
            "Time that drawing a picture took",
            self.seconds.clone(),
        );
    }

    /// Draws once there is a place. It is taken until the drawing has ended, also when nobody waits for it any more.
    pub(crate) async fn draw<T: Send + 'static>(
        &self,
        draw: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("the places are never closed");
        let studio = self.clone();
        spawn_blocking(move || {
            let _place = place;
            let started = Instant::now();
            let drawing = draw();
            studio.seconds.observe(started.elapsed().as_secs_f64());
            studio.drawn.inc();
            drawing
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::sleep;
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test]
    async fn no_more_are_drawn_at_once_than_there_are_places() {
        let studio = Studio::with_places(2);
        let (drawing, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut requests = JoinSet::new();
        for _ in 0..20 {
            let (studio, drawing, most) = (studio.clone(), drawing.clone(), most.clone());
            requests.spawn(async move {
                let draw = move || {
                    most.fetch_max(drawing.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    sleep(Duration::from_millis(10));
                    drawing.fetch_sub(1, Ordering::SeqCst);
                };
                studio.draw(draw).await.unwrap();
            });
        }
        requests.join_all().await;
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?}");
        assert_eq!(studio.drawn.get(), 20);
    }

    #[tokio::test]
    async fn a_place_is_taken_until_the_drawing_has_ended() {
        let studio = Studio::with_places(1);
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let drawing = tokio::spawn({
            let studio = studio.clone();
            async move {
                let draw = move || {
                    begin.send(()).unwrap();
                    let _ = ended.recv();
                };
                studio.draw(draw).await
            }
        });
        begun.await.unwrap();
        // The request is over, the drawing is not.
        drawing.abort();
        assert!(drawing.await.unwrap_err().is_cancelled());
        assert_eq!(studio.places.available_permits(), 0);
        end.send(()).unwrap();
        studio.draw(|| ()).await.unwrap();
        assert_eq!(studio.drawn.get(), 2);
    }
}
