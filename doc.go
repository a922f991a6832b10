// Package herokubuild builds and releases source code on Heroku through its
// Platform API: it uploads a source archive, starts a build, follows the build's
// output live, and releases the resulting slug to one app or to many.
//
// [Client.BuildAndRelease] does all of it:
//
//	client, err := herokubuild.NewClient()
//	if err != nil {
//		return err
//	}
//	result, err := client.BuildAndRelease(ctx, herokubuild.BuildAndReleaseOptions{
//		BuildApp:  "example-app",
//		Dir:       ".",
//		ReleaseTo: []string{"other-app"},
//		Output:    os.Stdout,
//	})
//
// It returns a nil error only if the build and every release succeeded, release
// phases included. Each step is also a method of one of the services, one per API
// resource: [AppsService], [BuildsService], [SourcesService], [SlugsService] and
// [ReleasesService]. [Client.Do] calls any other endpoint, and [List] any other
// list.
//
// Methods take what they require by value and options by pointer; nil options are
// the defaults. Methods that make one request also accept [RequestOption] values:
// headers and limits of that request, and [ResponseInto] for the metadata of its
// response.
//
// # Source archives
//
// [PackDir] packs the files that git would list in a directory: those that it
// tracks, and those that no .gitignore, .git/info/exclude or core.excludesFile
// ignores. It reads git's files directly; git need not be installed. Paths matched
// by .slugignore in the root are excluded too. ".git" is never packed; submodules
// are packed if they are checked out; other nested repositories are skipped, as git
// would. [PackOptions] adds includes and excludes. [PlanArchive] lists what is
// packed, why a path is excluded, and what looks like a mistake: secrets, or a
// missing Procfile.
//
// Executable bits and symbolic links are kept; a link that leads out of the
// directory, a socket or a device is an error that names it. Entries are sorted, and
// their times and owners fixed: two checkouts of one commit give the same bytes,
// independent of the machine, its umask, its line end conversion and its number of
// cores. Compression uses all cores and the archive goes to a temporary file: memory
// stays below 64 MiB, plus some 400 bytes for each file that git tracks.
//
// [PackFS] packs a file system of package io/fs, [OpenArchive] and [NewArchive] wrap
// an existing archive, and [Client.FetchArchive] downloads one that Heroku cannot
// reach. [TreeVersion] is the commit of a checkout, and the default version of a
// deploy.
//
// # Authentication
//
// The API key is the first of: the one given to [WithToken] or [WithTokenSource];
// the variable HEROKU_API_KEY; the password of the API host's entry in the netrc
// file, which "heroku login" writes. The netrc file is the one that the variable
// NETRC names, or ~/.netrc (on Windows ~/_netrc or ~/.netrc), and is read as
// "curl -n" reads it. The key is sent to the API's host only: never to the storage
// hosts of archives, never to the hosts of output streams, and never along a
// redirect. Without a key, [NewClient] fails with [ErrNoCredential].
//
// # Retries
//
// A failed request is retried after a jittered exponential delay, which the end of
// the context cuts short, in these cases:
//
//	                            GET, HEAD, PUT, DELETE    POST, PATCH
//	connection not established  retried                   retried
//	connection lost             retried                   not retried
//	no response within a minute retried                   not retried
//	upload without progress
//	for a minute                retried
//	429                         retried                   retried
//	5xx except 501              retried                   not retried
//	any other response          not retried               not retried
//
// Uploads and downloads of archives follow the first column, and so does
// POST /sources, which only allocates an upload URL. By default a request is
// attempted up to five times, with delays of 0.5 s doubling to 30 s; [WithRetry]
// changes that. A Retry-After header (seconds, a date, or an epoch second) lengthens
// the delay, to 2 minutes at most; if the context's deadline comes first, the call
// fails immediately with the last response.
//
// A POST is not repeated if the platform may have acted on it, since a second one
// could start a second build. Its error then matches [ErrMaybeApplied].
// [Client.BuildAndRelease] and [Client.Rollout] handle that: for 30 s
// ([WithSettleTime]) they search for the build of the source or the release of the
// slug, adopt it if there is one, and send the request again only if there is
// certainly none. If that cannot be determined, their error matches ErrMaybeApplied,
// too.
//
// The rules may be refined, but this guarantee stays: a mutating request is never
// sent again unless the first attempt cannot have taken effect.
//
// # Streaming
//
// An [OutputStream] delivers the output of a build or of a release phase as it is
// written, byte for byte, without the NUL bytes that the platform sends as
// heartbeats. It starts at the beginning of the output, or at
// [StreamOptions].Offset. Its end is the end of the output, not the outcome, which is
// the status of the build or release: see [BuildsService.Wait] and
// [ReleasesService.Wait].
//
// Every byte is delivered exactly once and in order, even across reconnects. A
// connection that breaks, ends too early, or is silent for longer than
// [StreamOptions].IdleTimeout (60 s; the platform sends a heartbeat every 10 s) is
// replaced by one that resumes at the byte where it stopped. The new one has to
// repeat the last 256 bytes: a response that doesn't is not trusted, and one that
// starts from the beginning is compared with everything that was delivered. If the
// output may have NUL bytes of its own, which only the platform's offsets count, and
// its text repeats itself, the whole output is requested again. If the platform no
// longer has it, the error matches [ErrOutputTruncated]. Output compressed with gzip
// is decompressed; any other encoding is a [*StreamError].
//
// No error of this package matches io.EOF, which a reader returns at the end only; a
// lost connection matches io.ErrUnexpectedEOF.
//
// While the build or release is pending, the stream requests the status, which comes with a
// freshly signed URL, and reconnects, with the delays of [WithPollBackoff]. It then gives up
// only if the API refuses the status, three requests for it in a row fail, or the stream host
// refuses the request for good. Once the status is final, it ends with the last byte, or with a
// [*StreamError] after 16 consecutive connections without data (about 10 s), or 3
// that stayed silent for 10 s or were refused as gone (401, 403, 404 or 410 after output
// had been read), or when output continues for longer than
// [StreamOptions].FinalTimeout (15 s). For that the status is also requested while
// output arrives, after 5 s and then at growing intervals. The outcome of a deploy
// does not depend on the stream.
//
// A build can be quiet for minutes. Heartbeats show that it is still running:
// [StreamOptions].OnHeartbeat and [EventHeartbeat] report them, at most once a
// second.
//
// After a successful build the platform releases the slug, and the release phase may
// fail. [Client.BuildAndRelease] waits for both.
//
// # Many apps
//
// [Client.Rollout] releases one slug or image to any number of apps, 16 at a time by
// default, and waits for the final status of each; so does BuildAndRelease for its
// ReleaseTo. Both have a [RolloutPolicy]. A failed app does not stop the others
// unless StopOnError is set. With Canaries, the first few apps have to succeed, and
// to pass Verify, such as a [Client.HealthCheck], before the others are released; with
// Rollback, apps return to what they ran before. [AppResult.Outcome] is the outcome of
// an app in one word.
//
// A release costs one request, and with a release phase one to four more. The
// platform allows an account 4500 requests an hour: when little is left, the requests
// of a rollout wait for more instead of being refused. The status of a release phase
// is requested when its output ends; if there is no output to follow, the polling
// rate is independent of the number of apps and decreases over time.
//
// # Resuming
//
// When the context of [Client.BuildAndRelease] ends, or its OnEvent or Output fails,
// the build is canceled on the platform, unless KeepBuildOnCancel is set; that takes
// 10 s at most, and the [*DeployError] has the build and whether it has ended. If the
// context's cause is [ErrDetached], the call only stops: the build continues, and
// nothing is rolled back.
//
// Every event, result and error of a deploy or rollout has a [Checkpoint], a small
// value without secrets that can be stored as JSON; see its rules. [CheckpointFile]
// stores it in a file. A process given a Checkpoint resumes where another stopped,
// even if that one was killed: it attaches to the build, writes its output from where
// the other stopped (or, if it was killed, from its last event), and releases only to
// the apps that need it. An app that runs the release, or is about to, needs none; an
// app whose release was rolled back gets another; an app that somebody else has
// released to since is left alone ([ErrSuperseded]).
//
// A durable engine that restarts deploys elsewhere needs three more things: BeforeChange,
// or [RequestBefore] for a single call, keeps a process that was suspended from acting
// twice, ProgressInterval is a heartbeat, and [OutputAt] writes the output at its offset.
// [Retryable] reports whether calling again may help. A large rollout stores its
// Checkpoints in increments ([Checkpoint.UpdateSince]).
//
// What identifies a build or release is in the Checkpoint before the request is sent:
// the URL of an uploaded source, or a random token in a description. Clocks are not
// compared. If the earlier process was killed, one of its requests may still take
// effect: that it has not is certain only after 30 s ([WithSettleTime]), which a call
// that resumes waits for before it sends the request again. This is not necessary
// after an error that the earlier call itself returned ([Checkpoint].Settled).
//
// # Slugs
//
// [SlugsService.CreateFromDir] creates a slug from a directory and its Procfile
// without a build, [ReleasesService.Create] releases it, and
// [ReleasesService.Promote] releases to an app what another app runs.
// [SlugsService.Download] reads a slug's archive: it resumes if the connection breaks,
// and ends with io.EOF only if the checksum is right. [UnpackSlug] unpacks it, or any
// gzipped tar archive, safely even if it is untrusted: nothing escapes the directory
// or exceeds the limits, and the error names the refused entry.
//
// Apps of the Fir generation ([App.IsFir]) run OCI images instead of slugs:
// [Release.Artifact] is what a release runs.
//
// # Observing
//
// [WithLogger] sets a logger of package log/slog: every request is logged at level
// debug, retries and recoveries at info, Heroku's warnings at warn.
// [BuildAndReleaseOptions].OnEvent receives every step of a deploy, for progress bars
// for example.
//
// OpenTelemetry can use two hooks: the transport, with [WithTransport], and OnEvent.
// The program examples/trace shows a deploy as one trace, with a span for each phase,
// app and request. Every request carries the context of its call. A transport sees
// complete requests: it must not record the query of a signed URL or the
// Authorization header.
//
// # Testing
//
// A program that uses this package can be tested without Heroku in three ways. Its
// own logic: with a small interface that has the methods it calls; results and errors
// can be created with their fields. Its requests: with a fake transport, given to
// [WithTransport]. The whole: with package herokutest, an emulator of Heroku that deploys in
// milliseconds, loses responses and breaks streams on demand, and shows what it has seen.
// All waiting uses package time, so that it takes no time in a bubble of testing/synctest.
//
// # Errors
//
// Errors match their sentinel with [errors.Is], and have a type with the details for
// [errors.As]:
//
//   - [*ArgumentError] ([ErrInvalidArgument]): invalid input, detected before anything
//     is changed
//   - [*APIError]: an error response of the API, with its ID, message and Request-Id
//     ([ErrUnauthorized], [ErrPaymentRequired], [ErrForbidden], [ErrNotFound],
//     [ErrConflict], [ErrUnprocessable], [ErrRateLimited])
//   - [*RequestError]: no response; wraps the cause
//   - [*ResponseError] ([ErrUnexpectedResponse]): a response that cannot be decoded
//   - [*StorageError]: an error response of a storage host
//   - [*ChecksumError] ([ErrChecksumMismatch]) and [*UnpackError] ([ErrUnsafeArchive],
//     [ErrArchiveTooLarge]): a slug's archive that is damaged or unsafe
//   - [*StreamError]: output that cannot be followed ([ErrStreamStalled],
//     [ErrOutputTruncated])
//   - [*BuildError] ([ErrBuildFailed]) and [*ReleaseError] ([ErrReleaseFailed]): the
//     build or the release phase failed
//   - [*RollbackError] ([ErrNotEligible], [ErrArtifactExpired]) and
//     [*GenerationError] ([ErrUnsupportedGeneration]): a release or app that does not
//     support the request
//   - [*RolloutError]: some apps failed ([ErrNotAttempted], [ErrVerifyFailed],
//     [ErrSuperseded], [ErrRolledBack], [ErrRollbackFailed], or the app's own error)
//   - [*DeployError]: the phase in which [Client.BuildAndRelease] failed, and what had
//     been done by then
//
// No error, log line, printed value or JSON of this package contains the API key or
// the query of a signed URL ([SecretURL]).
package herokubuild
