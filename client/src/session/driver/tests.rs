//! A driver whose coordinator is in the same process: notices, signed and forged.

use std::sync::Mutex;

use bytes::Bytes;
use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::bounded::Text;
use roundelay_protocol::codec::{encode, frame};
use roundelay_protocol::limits::FRAME_BYTES_MAX;
use roundelay_protocol::session::{Notice, ToCoordinator};
use tokio::task::{JoinHandle, LocalSet};

use super::super::connection::Sending;
use super::super::frames::Frames;
use super::super::memory::{Coordinator, MemorySending, network};
use super::*;
use crate::checkpoint::StateDir;
use crate::enrol::tests::{Authority, enrolled};
use crate::identity::enrolment::Enrolment;

/// A running client without federations, and what it tells.
struct Running {
    authority: Authority,
    dir: StateDir,
    dialled: mpsc::UnboundedReceiver<Coordinator>,
    warnings: Arc<Mutex<Vec<String>>>,
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<(), DriverError>>,
    _root: tempfile::TempDir,
}

/// One connection, welcomed; its client has asked for its federations.
struct Met {
    address: String,
    control: MemorySending,
    _there: Coordinator,
    _asked: Frames,
}

impl Running {
    async fn start() -> Self {
        let authority = Authority::new();
        let (root, dir) = enrolled(&authority).await;
        let (dialer, dialled) = network();
        let make_dialer: MakeDialer = Box::new(move |_| Ok(Arc::clone(&dialer) as Arc<dyn Dialer>));
        let trainers: TrainerFactory = Box::new(|_| panic!("there is nothing to train"));
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&warnings);
        let on_news: OnNews = Arc::new(move |news| {
            if let News::Warning(warning) = news {
                told.lock().unwrap().push(warning);
            }
        });
        let (stop, stopped) = watch::channel(false);
        let site = Site::load(dir.clone()).unwrap();
        let settings = Settings::default();
        let driver = Driver::new(site, settings, make_dialer, trainers, on_news, stopped).unwrap();
        let running = tokio::task::spawn_local(driver.run());
        Self { authority, dir, dialled, warnings, stop, running, _root: root }
    }

    async fn meet(&mut self) -> Met {
        let dialled = timeout(Duration::from_secs(20), self.dialled.recv()).await;
        let mut there = dialled.expect("it dials").unwrap();
        let (asked, control) = there.control.recv().await.unwrap();
        let mut asked = Frames::new(Box::new(asked), FRAME_BYTES_MAX);
        let hello: ToCoordinator = asked.next().await.unwrap().unwrap();
        assert!(matches!(hello, ToCoordinator::Hello { .. }), "{hello:?}");
        let address = there.address.clone();
        let mut met = Met { address, control, _there: there, _asked: asked };
        met.say(&ToClient::Welcome { version: 1, unix_ms: unix_ms() }).await;
        let listed: ToCoordinator = met._asked.next().await.unwrap().unwrap();
        assert_eq!(listed, ToCoordinator::ListFederations);
        met
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.running.await.unwrap().unwrap();
    }
}

impl Met {
    async fn say(&mut self, message: &ToClient) {
        let bytes = frame(&encode(message), FRAME_BYTES_MAX).unwrap();
        self.control.send(Bytes::from(bytes)).await.unwrap();
    }
}

fn redirect(to: &str, key: &IdentityKey) -> ToClient {
    let notice = Notice::Redirect(Text::clipped(to));
    ToClient::Redirect(SignedNotice::new(notice, unix_ms(), key))
}

#[tokio::test]
async fn a_signed_redirect_is_followed_and_kept_for_the_next_start() {
    let test = async {
        let mut client = Running::start().await;
        let mut first = client.meet().await;
        assert_eq!(first.address, "there:4433");
        first.say(&redirect("elsewhere:4433", &client.authority.notices)).await;
        let second = client.meet().await;
        assert_eq!(second.address, "elsewhere:4433");
        let kept = Enrolment::load(&client.dir).unwrap().unwrap();
        assert_eq!(kept.moved_to.as_deref(), Some("elsewhere:4433"));
        assert_eq!(kept.coordinator, "there:4433", "the way back is not forgotten");
        client.stop().await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_forged_redirect_is_told_of_and_changes_nothing() {
    let test = async {
        let mut client = Running::start().await;
        let mut first = client.meet().await;
        let stranger = IdentityKey::random(&mut os_rng());
        first.say(&redirect("evil:4433", &stranger)).await;
        // The connection goes on: what is said next on it is heard.
        first.say(&redirect("elsewhere:4433", &client.authority.notices)).await;
        let second = client.meet().await;
        assert_eq!(second.address, "elsewhere:4433");
        let warnings = client.warnings.lock().unwrap().clone();
        assert!(matches!(&warnings[..], [one] if one.contains("not signed by")), "{warnings:?}");
        client.stop().await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_client_that_is_asked_to_come_back_does_so_after_that_long() {
    let test = async {
        let mut client = Running::start().await;
        let mut first = client.meet().await;
        let notice =
            SignedNotice::new(Notice::RetryAfter(400), unix_ms(), &client.authority.notices);
        let asked = tokio::time::Instant::now();
        first.say(&ToClient::RetryAfter(notice)).await;
        let second = client.meet().await;
        assert_eq!(second.address, "there:4433");
        assert!(asked.elapsed() >= Duration::from_millis(400), "{:?}", asked.elapsed());
        client.stop().await;
    };
    LocalSet::new().run_until(test).await;
}
