package platform

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// pack writes a directory as a slug archive, a gzip-compressed tar archive with
// all names below ./app/.
func pack(ctx context.Context, zips *compressors, dir string, w io.Writer) (err error) {
	zw, release := zips.get(w)
	defer release()
	tw := tar.NewWriter(zw)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return packEntry(tw, path, "./app/"+filepath.ToSlash(rel), d)
	})
	return errors.Join(err, tw.Close(), zw.Close())
}

func packEntry(tw *tar.Writer, path, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	hdr := &tar.Header{
		Name:    name,
		Mode:    int64(info.Mode().Perm()),
		ModTime: info.ModTime().Truncate(time.Second),
		Uname:   "root",
		Gname:   "root",
	}
	switch {
	case d.IsDir():
		hdr.Typeflag = tar.TypeDir
		hdr.Name += "/"
		if name == "./app/." {
			hdr.Name = "./app/"
		}
		return tw.WriteHeader(hdr)
	case d.Type()&fs.ModeSymlink != 0:
		hdr.Typeflag = tar.TypeSymlink
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		hdr.Linkname = filepath.ToSlash(target)
		return tw.WriteHeader(hdr)
	case !d.Type().IsRegular():
		return nil // skip sockets and pipes that a build left behind
	}
	hdr.Typeflag = tar.TypeReg
	hdr.Size = info.Size()
	if err := tw.WriteHeader(hdr); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return errors.Join(err, f.Close())
}
