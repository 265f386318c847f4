//! What `/openapi.json` promises is what is answered, whatever is sent.

use service_kit::about;
use service_kit::testing::contract;
use upload::{configure, start};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_its_contract() {
    // Enough for all requests of the test, which come from one client.
    let environment = [("UPLOADS_PER_SECOND", "100000")];
    contract(about!(), &environment, configure, start).await;
}
