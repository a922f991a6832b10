package herokubuild

import "io"

// OutputAt returns a writer for [BuildAndReleaseOptions].Output that writes to w, usually
// an [os.File], from the OutputOffset of a Checkpoint on: the one that the call resumes
// from, or the zero one. So a log has every byte of the output once, even if a process was
// killed after its last event. What w has beyond the offset is removed first if w has a
// method Truncate(size int64) error; otherwise it is overwritten by the same bytes.
//
// The file must not be opened with os.O_APPEND, which does not permit to write at an
// offset. The error is that of Truncate.
func OutputAt(w io.WriterAt, c Checkpoint) (io.Writer, error) {
	if file, ok := w.(interface{ Truncate(size int64) error }); ok {
		if err := file.Truncate(c.OutputOffset); err != nil {
			return nil, err
		}
	}
	return io.NewOffsetWriter(w, c.OutputOffset), nil
}
