// A phone in a page: `await start({library: "jssip" | "sipjs", ...})`, then `phone.call(...)` and so
// on. What happened is in `seen`, in order, one {what, data} each.
"use strict";

const seen = [];
let phone, connection, analyser;

// The tone has to come through as it is.
const constraints = {
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  video: false,
};

function note(what, data) {
  seen.push({ what, data: data === undefined ? null : data });
}

async function start(options) {
  if (options.video) constraints.video = options.video;
  phone = await (options.library === "jssip" ? startJsSip(options) : startSipJs(options));
  phone.stopCamera = () =>
    connection.getSenders().forEach(({ track }) => track && track.kind === "video" && track.stop());
}

async function startJsSip(options) {
  const JsSIP = JsSIPModule.default || JsSIPModule;
  const pcConfig = { iceServers: [], rtcpMuxPolicy: "require", ...options.connection };
  let session;
  const agent = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(options.server)],
    uri: options.uri,
    password: options.password,
    authorization_user: options.user,
    register: options.register,
    session_timers: false,
  });
  agent.on("connected", () => note("connected"));
  agent.on("registered", () => note("registered"));
  agent.on("registrationFailed", (event) => note("registrationFailed", event.cause));
  agent.on("newRTCSession", (event) => {
    session = event.session;
    session.on("peerconnection", (told) => watch(told.peerconnection));
    if (session.connection) watch(session.connection);
    for (const name of ["accepted", "confirmed", "ended", "failed", "hold", "unhold"]) {
      session.on(name, (told) => note(name, (told && told.cause) || null));
    }
    if (event.originator === "remote") session.answer({ mediaConstraints: constraints, pcConfig });
  });
  agent.start();
  const settle = (method) => new Promise((done) => session[method]({}, done));
  return {
    call(target, extraHeaders) {
      agent.call(target, { extraHeaders, mediaConstraints: constraints, pcConfig });
    },
    hangup: () => session.terminate(),
    hold: () => settle("hold"),
    unhold: () => settle("unhold"),
    restartIce: () =>
      new Promise((done) => session.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, done)),
  };
}

async function startSipJs(options) {
  const handlerOptions = { constraints };
  let session;
  const adopt = (found) => {
    session = found;
    session.stateChange.addListener((state) => {
      note({ Established: "confirmed", Terminated: "ended" }[state] || String(state));
      if (session.sessionDescriptionHandler) watch(session.sessionDescriptionHandler.peerConnection);
    });
  };
  const agent = new SIP.UserAgent({
    uri: SIP.UserAgent.makeURI(options.uri),
    transportOptions: { server: options.server },
    authorizationUsername: options.user,
    authorizationPassword: options.password,
    logLevel: "error",
    sessionDescriptionHandlerFactoryOptions: {
      iceGatheringTimeout: 500,
      peerConnectionConfiguration: {
        iceServers: [],
        rtcpMuxPolicy: "require",
        ...options.connection,
      },
    },
    delegate: {
      onInvite: (invitation) => {
        adopt(invitation);
        invitation.accept({ sessionDescriptionHandlerOptions: handlerOptions });
      },
    },
  });
  await agent.start();
  note("connected");
  if (options.register) {
    const registerer = new SIP.Registerer(agent);
    registerer.stateChange.addListener((state) => note(String(state).toLowerCase()));
    await registerer.register();
  }
  const offerAgain = (more) =>
    new Promise((done, failed) =>
      session
        .invite({
          sessionDescriptionHandlerOptions: { ...handlerOptions, ...more },
          requestDelegate: { onAccept: () => done(), onReject: () => failed(new Error("refused")) },
        })
        .catch(failed),
    );
  return {
    call(target, extraHeaders) {
      adopt(
        new SIP.Inviter(agent, SIP.UserAgent.makeURI(target), {
          extraHeaders,
          sessionDescriptionHandlerOptions: handlerOptions,
        }),
      );
      session.invite();
    },
    hangup: () => (session.state === "Established" ? session.bye() : session.cancel()),
    hold: () => offerAgain({ hold: true }),
    unhold: () => offerAgain({ hold: false }),
    restartIce: () => offerAgain({ hold: false, offerOptions: { iceRestart: true } }),
  };
}

function watch(found) {
  if (!found || found === connection) return;
  connection = found;
  note("peerconnection");
  const see = (track) => {
    document.getElementById("seen").srcObject = new MediaStream([track]);
    note("video");
  };
  const hear = (track) => {
    if (track.kind === "video") return see(track);
    const stream = new MediaStream([track]);
    // Without an element that plays it, a remote track stays silent.
    document.getElementById("remote").srcObject = stream;
    const context = new AudioContext();
    analyser = context.createAnalyser();
    analyser.fftSize = 16384;
    analyser.smoothingTimeConstant = 0;
    context.createMediaStreamSource(stream).connect(analyser);
  };
  found.addEventListener("track", (event) => hear(event.track));
  found.getReceivers().forEach((receiver) => hear(receiver.track));
  found.addEventListener("connectionstatechange", () => note("media", found.connectionState));
}

// The strongest frequency that is heard, in Hz, and its level in dB; null while there is none.
function heard() {
  if (!analyser) return null;
  const levels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(levels);
  let best = 1;
  for (let index = 1; index < levels.length; index += 1) if (levels[index] > levels[best]) best = index;
  return {
    hertz: (best * analyser.context.sampleRate) / analyser.fftSize,
    level: Number.isFinite(levels[best]) ? levels[best] : -1000,
  };
}

// What the browser measured, and the descriptions in use.
async function stats() {
  const found = {
    local: connection.localDescription && connection.localDescription.sdp,
    remote: connection.remoteDescription && connection.remoteDescription.sdp,
  };
  const wanted = {
    "inbound-rtp": ["packetsReceived", "packetsLost", "totalAudioEnergy"],
    "outbound-rtp": ["packetsSent"],
    transport: ["dtlsState", "tlsVersion", "dtlsRole", "srtpCipher", "selectedCandidatePairChanges"],
  };
  const video = {
    "inbound-rtp": ["packetsReceived", "pliCount", "framesDecoded", "frameWidth", "frameHeight"],
    "outbound-rtp": ["framesSent", "keyFramesEncoded"],
  };
  found.video = {};
  (await connection.getStats()).forEach((report) => {
    if (report.kind === "video") {
      if (report.type === "outbound-rtp") found.video.keyFramesWanted = report.pliCount;
      for (const name of video[report.type] || []) found.video[name] = report[name];
      return;
    }
    for (const name of wanted[report.type] || []) found[name] = report[name];
  });
  return found;
}
