package herokubuild

import "time"

// DeployPhase is a part of a deploy.
type DeployPhase string

// The phases of a deploy, in order.
const (
	// PhaseCheck looks up every app, so that a wrong name or API key is detected
	// before anything is packed.
	PhaseCheck DeployPhase = "check"
	// PhasePack packs the directory.
	PhasePack DeployPhase = "pack"
	// PhaseUpload uploads the archive.
	PhaseUpload DeployPhase = "upload"
	// PhaseBuild starts the build and follows it to its final status. The
	// Checkpoint of its event is the first that can be resumed from.
	PhaseBuild DeployPhase = "build"
	// PhaseRelease waits for the build app's own release and then releases to the
	// other apps.
	PhaseRelease DeployPhase = "release"
)

// DeployEventKind is what a [DeployEvent] is about.
type DeployEventKind string

// The kinds of events, in the order in which they first occur.
const (
	// EventPhase: a phase begins; see Phase. App is the app that builds.
	EventPhase DeployEventKind = "phase"
	// EventPacked: the archive is ready; see Archive. Total is its size.
	EventPacked DeployEventKind = "packed"
	// EventWarning: something about the packed directory looks like a mistake; see
	// Line and [ArchivePlan].Warnings.
	EventWarning DeployEventKind = "warning"
	// EventUpload: Done of Total bytes are uploaded.
	EventUpload DeployEventKind = "upload"
	// EventBuildCreated: the platform has accepted the build; see Build. A resumed
	// deploy emits it, too.
	EventBuildCreated DeployEventKind = "build_created"
	// EventHeartbeat: the build, or App's release phase if Release is not nil, is
	// still running and has been silent for Quiet. It comes about every 10 s during
	// silence, and never more than once a second.
	EventHeartbeat DeployEventKind = "heartbeat"
	// EventProgress: the call is alive; Checkpoint is the current one, with the offset of
	// the output that has been written. It comes at every ProgressInterval, whether there
	// is output or silence, and not at all without that option.
	EventProgress DeployEventKind = "progress"
	// EventOutputLost: the rest of the output of the build or release cannot be
	// followed, because of Err. The deploy still waits for the outcome.
	EventOutputLost DeployEventKind = "output_lost"
	// EventBuildDone: the build has ended; see Build, and Err if it failed.
	EventBuildDone DeployEventKind = "build_done"
	// EventReleaseCreated: App has a release of this deploy; see Release. A resumed
	// deploy emits it, too.
	EventReleaseCreated DeployEventKind = "release_created"
	// EventReleaseOutput: App's release phase printed Line.
	EventReleaseOutput DeployEventKind = "release_output"
	// EventReleaseDone: App's release has ended; see Release, and Err if it did not
	// succeed.
	EventReleaseDone DeployEventKind = "release_done"
	// EventVerified: Verify has returned for App's release; see Err.
	EventVerified DeployEventKind = "verified"
	// EventRollback: a rollback begins. [Checkpoint.Apps] has the apps that may be
	// rolled back; App is empty.
	EventRollback DeployEventKind = "rollback"
	// EventRolledBack: App was rolled back by Release, or was not, because of Err.
	EventRolledBack DeployEventKind = "rolled_back"
	// EventBuildCanceled: the deploy was given up and the build canceled, or not,
	// because of Err. If the deploy was given up because OnEvent failed, OnEvent is
	// not called for it.
	EventBuildCanceled DeployEventKind = "build_canceled"
)

// DeployEvent is one step of a deploy or rollout. Kind, Time and Checkpoint are
// always set; the other fields are set as the comment of the kind describes.
type DeployEvent struct {
	Kind DeployEventKind
	// Time is when it happened, by this machine's clock.
	Time time.Time
	// Phase is the phase that begins; set for EventPhase only.
	Phase DeployPhase
	// App is the app that the event is about, as the caller named it; empty for the
	// events of an archive (packed, warning, upload).
	App string
	// Archive is what was packed, for EventPacked and EventWarning. It is closed
	// after the upload, unless the caller provided it.
	Archive *Archive
	// Done and Total are bytes of the archive, for EventUpload; EventPacked has
	// Total.
	Done, Total int64
	// Build is the build in its last known state, for events of the build.
	Build *Build
	// Release is App's release in its last known state, for events of a release.
	Release *Release
	// Line is a line of output without its line end, for EventReleaseOutput, or the
	// text of EventWarning.
	Line string
	// Quiet is how long there has been no output, for EventHeartbeat.
	Quiet time.Duration
	// Err is what went wrong; nil for most events.
	Err error
	// Checkpoint is what a later call resumes from; zero while there is nothing to
	// resume.
	Checkpoint Checkpoint
}
