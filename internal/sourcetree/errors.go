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
	// Reason is what is wrong, without the cause.
	Reason string
	// Err is the cause, nil if there is none.
	Err error
}

// Error implements error.
func (e *InputError) Error() string {
	if e.Err == nil {
		return clean.Line(e.Field + ": " + e.Reason)
	}
	cause := e.Err
	if path, ok := cause.(*fs.PathError); ok { //nolint:errorlint // Only the error itself: the reason has its path.
		cause = path.Err
	}
	return clean.Line(e.Field + ": " + e.Reason + ": " + cause.Error())
}

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

func inputError(field, reason string, err error) *InputError {
	return &InputError{Field: field, Reason: reason, Err: err}
}
