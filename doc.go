// Package herokubuild builds and releases source code on Heroku through its
// Platform API: it uploads a source archive, starts a build, follows the
// build's output live, and releases the resulting slug to one app or to many.
//
// The short way is [Client.BuildAndRelease]:
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
// It returns without an error only if the build succeeded and every release
// did, release phases included. The steps that it is made of are the methods of
// the services, [BuildsService], [SourcesService], [SlugsService] and
// [ReleasesService], one resource of the API each; [Client.Do] reaches any
// other endpoint, and [List] any other list.
//
// # Source archives
//
// [PackDir] packs what git would list in a directory: what it tracks, and what
// is not ignored by any .gitignore, .git/info/exclude or core.excludesFile. It
// asks the files, not git, which need not be installed. Left out besides is what
// a .slugignore in the root names. ".git" is never packed, submodules are as far
// as they are checked out, and other repositories inside of the tree are not,
// since git would not deploy them either. [PackOptions] includes and excludes
// more; [PlanArchive] says what is packed, why a path is not, and what looks like
// a mistake: secrets, or no Procfile.
//
// Executable bits and symbolic links are kept; a link that leads out of the tree,
// a socket or a device is an error that names it. Entries are sorted, their times
// and owners fixed: two checkouts of one commit give the same bytes, whatever the
// machine, its umask, its conversion of line ends and the number of its cores. The
// compression runs on all cores and the archive goes to a temporary file: memory
// stays below 64 MiB, plus some 400 bytes for each file that git tracks.
//
// [PackFS] packs a file system of package io/fs, [OpenArchive] and [NewArchive] take a
// ready archive, and [Client.FetchArchive] downloads one that the platform has no
// access to. [TreeVersion] is the commit of a checkout, and the default version
// of a deploy.
//
// # Authentication
//
// The API key is, in this order: what [WithToken] or [WithTokenSource] gave,
// the variable HEROKU_API_KEY, or the password of the API host's entry in the
// netrc file, which "heroku login" writes and which is read as "curl -n" reads it:
// the file that the variable NETRC names, or ~/.netrc, on Windows ~/_netrc or
// ~/.netrc. It is sent to the API's host only: never to the storage hosts that archives are uploaded to,
// never to the hosts that output is streamed from, and never along a redirect.
//
// # Retries
//
// A request is sent again, after a jittered exponential wait that the context
// cuts short, in these cases:
//
//	                      GET, HEAD, PUT, DELETE    POST, PATCH
//	cannot connect        yes                       yes
//	connection lost       yes                       no
//	no answer in a minute yes                       no
//	upload makes no headway
//	for a minute          yes
//	429                   yes                       yes
//	5xx, but for 501      yes                       no
//	any other answer      no                        no
//
// The uploads and downloads of archives follow the first column, and so does
// POST /sources, which only makes room. By default a
// request is sent 5 times at the most, with waits of 0.5 s doubling to 30 s;
// [WithRetry] changes that. A Retry-After header (seconds, a date, or an epoch
// second) lengthens the wait, to at most 2 minutes; if the context's deadline
// comes before it, the call fails at once with the answer that it has.
//
// A POST is not repeated where the platform may have acted on it, since a
// second one could start a second build. Its error then matches
// [ErrMaybeApplied]. [Client.BuildAndRelease] goes on from there: it looks, for
// 30 s ([RetryOptions].SettleTime), for the build of its source or the release of its slug, adopts it
// if it is there, and sends the request again only if it certainly is not. Where
// it cannot find out, its error matches ErrMaybeApplied, too.
//
// These rules may become finer in later versions; what they promise stays: no
// request that changes something is sent twice unless the first cannot have
// had an effect.
//
// # Streaming
//
// An [OutputStream] delivers the output of a build or of a release phase as it
// is written, byte for byte, without the NUL bytes that the platform sends as
// heartbeats. It starts at the beginning of the output, or at
// [StreamOptions].Offset, whenever it is opened. Its end is the end of the
// output, not the outcome: that is the status of the build or release; see
// [BuildsService.Wait] and [ReleasesService.Wait].
//
// Every byte is delivered once and in order, even across reconnects. A connection
// that breaks, ends too early, or is silent for longer than
// [StreamOptions].IdleTimeout (60 s; the platform sends a heartbeat every 10 s)
// is replaced by one that resumes where it ended. The new one is asked to repeat
// the last 256 bytes: a response that does not is not trusted, and one that starts
// from the beginning is compared with all that was delivered. Where the output may
// have NUL bytes of its own, which only the platform's offsets count, and the text
// repeats itself, all of it is requested again. Where the platform no longer has
// it, the error matches [ErrOutputTruncated]. Output that arrives compressed with
// gzip is decompressed; any other encoding is a [*StreamError].
//
// No error of this package matches io.EOF, which is what a reader returns at the
// end and nowhere else; a lost connection matches io.ErrUnexpectedEOF.
//
// While the build or release is pending the stream is not given up: it asks for
// the status, which comes with a freshly signed address, and connects again,
// with the waits of [WithPollBackoff]. Once the status is final, it ends with
// the last byte, or with a [*StreamError] after 16 fruitless connections in a
// row (some 10 s), or 3 that were silent for 10 s or found the stream gone, or
// when output keeps coming for longer than [StreamOptions].FinalTimeout (15 s).
// For that the status is requested while output comes too, after 5 s and then ever
// more rarely. The deploy's outcome does not depend on the stream.
//
// A build can be quiet for minutes. Heartbeats show that it is still running:
// [StreamOptions].OnHeartbeat, and [EventHeartbeat] of a deploy, report them, at
// most once a second.
//
// A build that succeeded is not yet an app that runs: the platform releases the
// slug, and a release phase may fail. [Client.BuildAndRelease] waits for both.
//
// # Many apps
//
// [ReleasesService.ReleaseToApps] releases one slug or image to any number of
// apps, 16 at a time by default, and waits for the final status of each; so does
// BuildAndRelease for its ReleaseTo, by the same [RolloutPolicy]. One app's
// failure does not keep the others from getting it, unless StopOnError. With
// Canaries the first few have to succeed, and to pass Verify, before the rest
// gets it; with Rollback apps go back to what they ran before.
//
// A release costs one request, and with a release phase one to four more. The
// platform gives an account 4500 requests an hour: when little is left of them,
// the requests of a fan-out wait for more instead of being refused. The status
// of a release phase is asked for when its output ends; where there is no output
// to follow, the questions in a second do not grow with the number of apps, and
// become fewer as time passes.
//
// # Resuming
//
// When the context of a [Client.BuildAndRelease] ends, or its OnEvent or Output
// fails, the build is canceled on the platform, unless KeepBuildOnCancel is set;
// that takes 10 s at most, and the [*DeployError] names the build and says whether
// it has ended. A context whose cause is [ErrDetached] only stops the call: the
// build goes on, nothing is rolled back.
//
// Every [DeployEvent], [DeployResult] and [*DeployError] has a [Checkpoint], a small value
// without secrets that can be stored as JSON; its rules are there, and
// [CheckpointFile] stores it. A call that is given one resumes where another
// stopped, even if that one was killed: it attaches to the build, writes its
// output from where the other stopped (or, if that was killed, was at its last
// event), and releases only to the apps that need it. An app that runs the
// release, or is about to, does not; one whose release was rolled back does; one
// that somebody else has released to since is left alone ([ErrSuperseded]).
//
// What identifies a build or release as that of a deploy is in the Checkpoint
// before the request is sent: the URL of an uploaded source, or a random token in
// a description. No clock is compared. If the call before was killed, a request
// of it may still be under way: that it has had no effect is only certain after
// 30 s ([RetryOptions].SettleTime), which a call that resumes waits for before it
// sends the request again. After an error that the call itself returned it need
// not ([Checkpoint].Settled).
//
// # Slugs
//
// [SlugsService.CreateFromDir] makes a slug of a directory and its Procfile
// without a build, [ReleasesService.Create] releases it, and
// [ReleasesService.Promote] releases to an app what another one runs.
// [SlugsService.Download] reads a slug's archive: it goes on where a connection
// broke, and ends with io.EOF only if the checksum is right. [UnpackSlug]
// unpacks it, or any gzipped tar archive, and needs not trust it: nothing gets
// out of the directory or beyond the limits, and a refusal names its entry.
//
// Apps of the Fir generation ([App.IsFir]) run OCI images and no slugs:
// [Release.Code] is what a release runs, whichever it is.
//
// # Observing
//
// [WithLogger] takes a logger of package log/slog: it gets a line for every
// request at level debug, what the package does about trouble at info, and what
// the platform warns of at warn. [BuildAndReleaseOptions].OnEvent is told of
// every step of a deploy, for progress bars and the like.
//
// For OpenTelemetry the two hooks are the transport, with [WithHTTPClient], and
// OnEvent: the program examples/trace shows a deploy as one trace, with a span
// for each phase, app and request. Every request carries the context of the call
// that it is made for. A transport sees whole requests: what it records must not
// contain the query of a signed address, nor the Authorization header.
//
// # Testing
//
// A program that uses this package can be tested without Heroku in three ways.
// Its own logic, with an interface of its own that has the few methods that it
// calls: the services are concrete types, and results and errors can be made
// with their fields. Its requests, with a transport that answers them, given to
// [WithHTTPClient]. All of it, with the program examples/platform, which serves
// a look-alike of the platform on loopback and prints the HEROKU_API_URL and
// HEROKU_API_KEY that [NewClient] reads. Waits are made with package time, so
// that they take no time within a bubble of testing/synctest.
//
// # Errors
//
// Errors match the sentinels that they stand for with errors.Is, and where there
// is more to say than text they are of a type that can be told with errors.As:
//
//   - [*ArgumentError]: wrong input, found before anything is changed
//     ([ErrInvalidArgument])
//   - [*APIError]: the API refused ([ErrNotFound], [ErrUnauthorized],
//     [ErrForbidden], [ErrRateLimited]), with its id, message and Request-Id
//   - [*RequestError]: no answer; wraps the cause
//   - [*ResponseError]: an answer that cannot be understood ([ErrUnexpectedResponse])
//   - [*StorageError]: a storage host refused
//   - [*ChecksumError] ([ErrChecksumMismatch]) and [*UnpackError] ([ErrUnsafeArchive],
//     [ErrArchiveTooLarge]): a slug's archive that is not what it should be
//   - [*StreamError]: output that cannot be followed ([ErrStreamStalled],
//     [ErrOutputTruncated])
//   - [*BuildError] ([ErrBuildFailed]) and [*ReleaseError] ([ErrReleaseFailed]):
//     the platform did its work, and the code did not pass
//   - [*RollbackError] ([ErrNotEligible], [ErrArtifactExpired]) and [*GenerationError]
//     ([ErrUnsupportedGeneration]): asked of a release or app that cannot do it
//   - [*RolloutError]: some of many apps failed ([ErrNotAttempted], [ErrVerifyFailed],
//     [ErrRolledBack], [ErrRollbackFailed], or the app's own error)
//   - [*DeployError]: where [Client.BuildAndRelease] stopped, and what it had
//     done by then
//
// No error, log line, printed value or JSON of this package contains the API key
// or the query of a signed URL ([SecretURL]).
package herokubuild
