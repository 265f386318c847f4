//! What `/openapi.json` promises is what is answered, whatever is sent.

use service_kit::about;
use service_kit::testing::contract;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_its_contract() {
    contract(about!(), &[], birthday::configure, birthday::start).await;
}
