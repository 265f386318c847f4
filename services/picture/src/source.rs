//! Where pictures come from.

use std::time::SystemTime;

use bytes::Bytes;
use uuid::Uuid;

use crate::backend::{Backend, FetchError};
use crate::drawing::draw;
use crate::picture::{Kind, Picture};

/// A backend, or this program itself.
#[derive(Debug)]
pub(crate) enum Source {
    Backend(Backend),
    Drawing,
}

impl Source {
    /// Tells sources apart, so that a kept picture of another one is not used.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Backend(backend) => backend.key(),
            Self::Drawing => "drawing".to_owned(),
        }
    }

    /// A new picture.
    pub(crate) async fn fetch(&self) -> Result<Picture, FetchError> {
        match self {
            Self::Backend(backend) => backend.fetch().await,
            Self::Drawing => {
                let (seed, _) = Uuid::new_v4().as_u64_pair();
                let bytes = Bytes::from(draw(seed));
                Ok(Picture::new(Kind::Svg, bytes, SystemTime::now()))
            }
        }
    }
}
