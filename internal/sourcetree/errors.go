package sourcetree

import (
	"errors"
	"io/fs"

	"github.com/herokubuild/herokubuild/internal/clean"
)

// ErrChanged reports that a file disappeared, or changed its type or size, while
// it was read.
var ErrChanged = errors.New("changed while it was read")

// InputError reports that something the caller named cannot be packed: an
// argument, an option, or a file of the tree.
type InputError struct {
	// Field is the argument or option: "dir", "fsys", "Include", "Exclude" or
	// "Prefix".
	Field string
	// Reason says what is wrong. It does not contain the cause.
	Reason string
	// Err is the cause, nil if there is none.
	Err error
}

// Error implements error.
func (e *InputError) Error() string {
	return clean.Line(e.Field + ": " + e.Detail())
}

// Detail returns the reason and the cause.
func (e *InputError) Detail() string {
	if e.Err == nil {
		return e.Reason
	}
	cause := e.Err
	if path, ok := cause.(*fs.PathError); ok { //nolint:errorlint // Only the error itself: the reason has its path.
		cause = path.Err
	}
	return e.Reason + ": " + clean.Line(cause.Error())
}

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }
