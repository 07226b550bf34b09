//! A program's own test against a node, a relay and a desk that exist in memory only.
//!
//! ```sh
//! cargo run --example simulator
//! ```
//!
//! Gate, record, protocol and relay are the real ones; network, disk, clock and the answers of operations are in memory. Two
//! days pass in a moment, nothing is written, no port is opened. It ends by itself with exit code 0.

use std::error::Error;
use std::time::Duration;

use rs_consent::{AccessLevel, EndCause};
use rs_session::operations::Object;
use rs_session::record::Verdict;
use rs_simulator::Simulator;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let broken = Object::new("Volume").with("MountPoint", "/data").with("HealthStatus", "Unhealthy");
    let simulator = Simulator::builder().answer("Get-Volume", vec![broken]).build()?;

    // The papers: the owner's request, confirmed with the desk, and the desk's assignment.
    let request = simulator.open_request("A volume does not mount").await?;
    let engineer = simulator.assign("engineer@support.example", request)?;
    let refused = simulator.connect(&engineer).await.err().ok_or("nobody gets in without a grant")?;
    println!("no grant    {refused}");

    // The owner agrees, the engineer looks.
    let grant = simulator.grant(AccessLevel::Diagnostics, 2880).await?;
    println!("granted     until {}", grant.expires_at());
    let mut session = simulator.connect(&engineer).await?;
    let ran = session.run("Get-Volume | Where-Object HealthStatus -ne Healthy").await?;
    println!("looked      {}", ran.text().trim().replace('\n', "\n            "));
    assert!(ran.text().contains("/data"));
    let ran = session.run("Remove-Item /data").await?;
    println!("refused     {:?}", ran.refused());
    assert!(ran.refused().is_some());

    // A line that breaks, and a node that comes back.
    simulator.network().cut();
    assert!(session.ended().await.is_err());
    simulator.online().await;

    // The owner takes it back: everybody is out when `revoke` returns.
    let mut again = simulator.connect(&engineer).await?;
    let (downed, ended) = tokio::join!(simulator.revoke(), again.ended());
    println!("revoked     {} session down", downed.len());
    assert_eq!((downed.len(), ended?), (1, EndCause::Revoked));

    // Two days later nobody gets in, and the record still convicts.
    simulator.advance(2 * DAY).await;
    assert!(simulator.connect(&engineer).await.is_err());
    for id in simulator.sessions() {
        let report = simulator.verify(id).ok_or("a record")?;
        println!(
            "verified    {id}: {:?}, {} records, ended by {:?}",
            report.verdict, report.records, report.end
        );
        assert_eq!(report.verdict, Verdict::Intact);
    }
    Ok(())
}
