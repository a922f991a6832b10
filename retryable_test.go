package herokubuild_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/herokubuild/herokubuild"
)

func TestRetryable(t *testing.T) {
	t.Parallel()
	// sentinels has every exported one, so that a new one has to be decided.
	sentinels := map[string]struct {
		err  error
		want bool
	}{
		"ErrInvalidArgument": {herokubuild.ErrInvalidArgument, false}, "ErrNoCredential": {herokubuild.ErrNoCredential, false},
		"ErrUnauthorized": {herokubuild.ErrUnauthorized, false}, "ErrPaymentRequired": {herokubuild.ErrPaymentRequired, false},
		"ErrForbidden": {herokubuild.ErrForbidden, false}, "ErrNotFound": {herokubuild.ErrNotFound, false},
		"ErrConflict": {herokubuild.ErrConflict, true}, "ErrUnprocessable": {herokubuild.ErrUnprocessable, false},
		"ErrRateLimited": {herokubuild.ErrRateLimited, true}, "ErrMaybeApplied": {herokubuild.ErrMaybeApplied, true},
		"ErrNotSent": {herokubuild.ErrNotSent, true}, "ErrUnexpectedResponse": {herokubuild.ErrUnexpectedResponse, true},
		"ErrPartialList": {herokubuild.ErrPartialList, false}, "ErrUnknownStatus": {herokubuild.ErrUnknownStatus, false},
		"ErrBuildFailed": {herokubuild.ErrBuildFailed, false}, "ErrReleaseFailed": {herokubuild.ErrReleaseFailed, false},
		"ErrNotAttempted": {herokubuild.ErrNotAttempted, true}, "ErrSuperseded": {herokubuild.ErrSuperseded, false},
		"ErrCheckpointMismatch": {&herokubuild.ArgumentError{Err: herokubuild.ErrCheckpointMismatch}, false},
		"ErrDetached":           {herokubuild.ErrDetached, true}, "ErrVerifyFailed": {herokubuild.ErrVerifyFailed, false},
		"ErrRolledBack": {herokubuild.ErrRolledBack, true}, "ErrRollbackFailed": {herokubuild.ErrRollbackFailed, true},
		"ErrNoArtifact": {herokubuild.ErrNoArtifact, false}, "ErrNoOutput": {herokubuild.ErrNoOutput, false},
		"ErrStreamStalled": {herokubuild.ErrStreamStalled, true}, "ErrOutputTruncated": {herokubuild.ErrOutputTruncated, false},
		"ErrWaitTimeout": {herokubuild.ErrWaitTimeout, true}, "ErrArchiveChanged": {herokubuild.ErrArchiveChanged, true},
		"ErrChecksumMismatch": {herokubuild.ErrChecksumMismatch, true}, "ErrArtifactExpired": {herokubuild.ErrArtifactExpired, false},
		"ErrUnsupportedGeneration": {herokubuild.ErrUnsupportedGeneration, false}, "ErrNotEligible": {herokubuild.ErrNotEligible, false},
		"ErrUnsafeArchive": {herokubuild.ErrUnsafeArchive, false}, "ErrArchiveTooLarge": {herokubuild.ErrArchiveTooLarge, false},
		"ErrUnsupportedName": {herokubuild.ErrUnsupportedName, false}, "ErrLinksNotPermitted": {herokubuild.ErrLinksNotPermitted, false},
	}
	for name, tt := range sentinels {
		assert.Equal(t, tt.want, herokubuild.Retryable(tt.err), name)
		assert.Equal(t, tt.want, herokubuild.Retryable(&herokubuild.DeployError{Err: fmt.Errorf("step: %w", tt.err)}), name)
		some := &herokubuild.RolloutError{Apps: []herokubuild.AppResult{{}, {Err: herokubuild.ErrNotAttempted}, {Err: tt.err}}}
		assert.Equal(t, tt.want, herokubuild.Retryable(errors.Join(some, context.Canceled)), name)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, name := range spec.Names {
				if strings.HasPrefix(name.Name, "Err") {
					assert.Contains(t, sentinels, name.Name)
				}
			}
		}
		return true
	})

	for status, want := range map[int]bool{400: false, 401: false, 402: false, 403: false, 404: false, 408: true, 409: true, 410: false, 422: false, 423: true, 429: true, 500: true, 501: false, 502: true, 503: true} {
		assert.Equal(t, want, herokubuild.Retryable(fmt.Errorf("x: %w", &herokubuild.APIError{StatusCode: status})), status)
	}
	for name, tt := range map[string]struct {
		err  error
		want bool
	}{
		"nil": {nil, false}, "context": {context.Canceled, true}, "deadline": {context.DeadlineExceeded, true},
		"own function": {errors.New("disk full"), true}, "network": {&herokubuild.RequestError{Err: io.ErrUnexpectedEOF}, true},
		"response": {&herokubuild.ResponseError{StatusCode: 200}, true}, "stream": {&herokubuild.StreamError{Err: io.ErrUnexpectedEOF}, true},
		"expired upload URL": {&herokubuild.DeployError{Err: &herokubuild.StorageError{StatusCode: 403}}, true},
		"build":              {&herokubuild.BuildError{}, false}, "release": {&herokubuild.ReleaseError{}, false},
		"generation": {&herokubuild.GenerationError{}, false}, "argument": {&herokubuild.ArgumentError{}, false},
		"checksum": {&herokubuild.ChecksumError{}, true},
		"rollback": {&herokubuild.RollbackError{}, false}, "unpack": {&herokubuild.UnpackError{Err: herokubuild.ErrUnsafeArchive}, false},
	} {
		assert.Equal(t, tt.want, herokubuild.Retryable(tt.err), name)
	}
}

func ExampleRetryable() {
	attempt := func(checkpoint herokubuild.Checkpoint) error { return &herokubuild.APIError{StatusCode: 503} }
	var checkpoint herokubuild.Checkpoint
	for range 3 {
		err := attempt(checkpoint)
		if !herokubuild.Retryable(err) {
			break
		}
		var failed *herokubuild.DeployError
		if errors.As(err, &failed) {
			checkpoint = failed.Checkpoint
		}
		fmt.Println("again")
	}
	// Output:
	// again
	// again
	// again
}
