package herokubuild

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// slugPrefix is where a slug has its code.
const slugPrefix = "./app/"

// packSlug packs a directory as the archive of a slug: what [ArchiveDir] packs,
// by the same rules, under ./app. It writes that archive anew, entry by entry,
// so that there is one place that knows what is packed.
func packSlug(ctx context.Context, dir, tempDir string) (*Archive, error) {
	plain, err := ArchiveDir(ctx, dir, &ArchiveOptions{TempDir: tempDir})
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }()
	to, err := newSpool(tempDir)
	if err != nil {
		return nil, fmt.Errorf("herokubuild: spooling a slug: %w", err)
	}
	a, err := to.prefixed(ctx, plain)
	if err != nil {
		_ = to.close()
		return nil, fmt.Errorf("herokubuild: packing a slug of %s: %w", dir, err)
	}
	return a, nil
}

func (s *spool) prefixed(ctx context.Context, plain *Archive) (*Archive, error) {
	src, err := plain.Open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = src.Close() }()
	unpacked, err := gzip.NewReader(&contextReader{ctx: ctx, r: src})
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	size := &countingWriter{w: io.MultiWriter(s.file, hash)}
	zw := gzip.NewWriter(size)
	tw := tar.NewWriter(zw)
	if err := prefixEntries(tw, tar.NewReader(unpacked)); err != nil {
		return nil, err
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		return nil, err
	}
	a := &Archive{
		Size: size.n,
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(s.file, 0, size.n)), nil
		},
		close: s.close,
	}
	hash.Sum(a.SHA256[:0])
	return a, nil
}

func prefixEntries(to *tar.Writer, from *tar.Reader) error {
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		header.Name = slugPrefix + header.Name
		// The longer name may need another format.
		header.Format = tar.FormatUnknown
		if header.Typeflag == tar.TypeLink {
			header.Linkname = slugPrefix + header.Linkname
		}
		if err := to.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil { //nolint:gosec // it was packed a moment ago
			return err
		}
	}
}
