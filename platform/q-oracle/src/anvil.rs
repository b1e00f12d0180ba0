//! A chain of a test's own: anvil, the development node of Foundry, on a free port.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::{folder, or_skip};

const ANSWER_MAX: Duration = Duration::from_secs(30);
const PROGRAM: &str = "node/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil";
const CONTRACTS: &str = "node/node_modules/@openzeppelin/contracts/build/contracts";

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A running anvil. Blocks are made when a transaction comes, unless [`Anvil::stop_mining`]; its accounts are those of
/// the phrase "test test test test test test test test test test test junk".
pub struct Anvil {
    address: Option<SocketAddr>,
    state: PathBuf,
    process: Option<Child>,
    is_mining: AtomicBool,
}

impl Anvil {
    /// The id of its chain.
    pub const CHAIN_ID: u64 = 31_337;
    /// Its first account, which it signs for.
    pub const RICH: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    /// Starts one, or says that the program is missing and gives nothing.
    ///
    /// # Panics
    /// When it is there and does not start.
    pub fn start() -> Option<Self> {
        program()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let state = std::env::temp_dir().join(format!("q-anvil-{}-{number}.json", std::process::id()));
        let mut anvil = Self { address: None, state, process: None, is_mining: AtomicBool::new(true) };
        anvil.start_again();
        Some(anvil)
    }

    /// Where it is asked, such as `http://127.0.0.1:8545`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address.expect("it was started"))
    }

    /// Ends it as an operator would; it keeps its chain.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let asked = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
            assert!(asked.is_ok_and(|status| status.success()), "anvil is asked to end");
            process.wait().expect("anvil ends");
        }
    }

    /// Starts it at the same address with the chain it kept.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        let port = self.address.map_or(0, |address| address.port());
        let mut command = program().expect("it was there before");
        command.args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--preserve-historical-states",
            "--state",
        ]);
        command.arg(&self.state).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("anvil starts");
        let lines = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let mut lines = lines.map_while(Result::ok);
        let said = lines.by_ref().find_map(|line| line.strip_prefix("Listening on ")?.trim().parse().ok());
        self.address = Some(said.expect("anvil says where it listens"));
        self.process = Some(process);
        // It writes a line for each call, and would stop when nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
    }

    /// Calls a method with `params`, which is JSON, and gives the JSON of its result.
    ///
    /// # Panics
    /// When it refuses.
    pub fn call(&self, method: &str, params: &str) -> String {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let answer = self.post(&body);
        let result = answer.split_once(r#""result":"#).map(|(_, rest)| rest.trim_end().trim_end_matches('}'));
        match result {
            // What was cut from the end of an object is put back.
            Some(result) => {
                let open = result.matches('{').count().saturating_sub(result.matches('}').count());
                format!("{result}{}", "}".repeat(open))
            }
            None => panic!("{method}: {answer}"),
        }
    }

    /// Makes so many blocks.
    pub fn mine(&self, blocks: u64) {
        self.call("anvil_mine", &format!(r#"["{blocks:#x}"]"#));
    }

    /// From now on transactions wait until [`Anvil::mine`].
    pub fn stop_mining(&self) {
        self.is_mining.store(false, Ordering::Relaxed);
        self.call("evm_setAutomine", "[false]");
    }

    /// From now on each transaction makes its block.
    pub fn go_on_mining(&self) {
        self.is_mining.store(true, Ordering::Relaxed);
        self.call("evm_setAutomine", "[true]");
    }

    /// The height of the newest block.
    pub fn height(&self) -> u64 {
        let text = self.call("eth_blockNumber", "[]");
        let digits = text.trim_matches('"').trim_start_matches("0x");
        u64::from_str_radix(digits, 16).expect("a height is a number")
    }

    /// Forgets the last `depth` blocks and makes as many others, without their transactions.
    pub fn reorg(&self, depth: u64) {
        self.call("anvil_reorg", &format!("[{depth}, []]"));
    }

    /// Waits until the transaction is in a block.
    ///
    /// # Panics
    /// When no block takes it.
    pub fn wait_for(&self, hash: &str) {
        let started = Instant::now();
        while self.call("eth_getTransactionReceipt", &format!(r#"["{hash}"]"#)) == "null" {
            assert!(started.elapsed() < ANSWER_MAX, "no block takes {hash}");
            std::thread::yield_now();
        }
    }

    /// Sends coin and a call from [`Anvil::RICH`]; gives the hash. It is in a block then, if blocks are made.
    pub fn send(&self, to: &str, value: u128, data: &str) -> String {
        let rich = Self::RICH;
        let sent = self.call(
            "eth_sendTransaction",
            &format!(r#"[{{"from":"{rich}","to":"{to}","value":"{value:#x}","data":"{data}"}}]"#),
        );
        let hash = sent.trim_matches('"').to_owned();
        if self.is_mining.load(Ordering::Relaxed) {
            self.wait_for(&hash);
        }
        hash
    }

    /// Puts a token of OpenZeppelin into the chain, all of it belonging to [`Anvil::RICH`]; gives its address. `None`
    /// after saying that the contract is missing.
    ///
    /// # Panics
    /// When the chain does not take it.
    pub fn deploy_token(&self, supply: u128) -> Option<String> {
        let file = folder()?.join(CONTRACTS).join("ERC20PresetFixedSupply.json");
        let artifact = or_skip("@openzeppelin/contracts", fs::read_to_string(file).ok())?;
        let code = artifact.split_once(r#""bytecode": ""#).expect("the artifact has its code").1;
        let code = code.split('"').next().expect("the code ends");
        // constructor(string name, string symbol, uint256 supply, address owner)
        let rich = Self::RICH.trim_start_matches("0x").to_lowercase();
        let text = |text: &str| {
            let hex = text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            format!("{:064x}{hex:0<64}", text.len())
        };
        let words =
            format!("{:064x}{:064x}{supply:064x}{rich:0>64}{}{}", 128, 192, text("Test"), text("TST"));
        let sender = Self::RICH;
        let hash =
            self.call("eth_sendTransaction", &format!(r#"[{{"from":"{sender}","data":"{code}{words}"}}]"#));
        self.wait_for(hash.trim_matches('"'));
        let receipt = self.call("eth_getTransactionReceipt", &format!("[{hash}]"));
        let address = receipt.split_once(r#""contractAddress":""#).expect("a contract has an address").1;
        Some(address.split('"').next().expect("the address ends").to_owned())
    }

    /// Moves a token from [`Anvil::RICH`]; gives the hash.
    pub fn send_token(&self, token: &str, to: &str, amount: u128) -> String {
        let to = to.trim_start_matches("0x").to_lowercase();
        self.send(token, 0, &format!("0xa9059cbb{to:0>64}{amount:064x}"))
    }

    fn post(&self, body: &str) -> String {
        let address = self.address.expect("it was started");
        let mut stream = TcpStream::connect(address).expect("anvil answers");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a timeout can be set");
        let head = format!(
            "POST / HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .expect("anvil listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("anvil answers with text");
        answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_file(&self.state);
    }
}

fn program() -> Option<Command> {
    let program = folder().map(|folder| folder.join(PROGRAM)).filter(|program| program.is_file());
    or_skip("anvil", program.map(Command::new))
}
