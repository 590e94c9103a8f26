package agent

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/fsnotify/fsnotify"
)

// fileWatch has the kernel tell of changes in directories. Watches are a scarce resource of a Kubernetes node
// (fs.inotify.max_user_instances), and network file systems send nothing: whoever uses it polls too.
type fileWatch struct {
	// directories and not the files: a mounted Secret changes by a symbolic link beside them.
	directories []string
	log         *slog.Logger
	open        func() (*fsnotify.Watcher, error)

	watcher *fsnotify.Watcher // nil while none is to be had
	told    bool
}

// renew watches each directory that is not watched yet, or no longer: a directory may be created late, or again. It
// never fails; the first error is logged.
func (w *fileWatch) renew() {
	if w.watcher == nil {
		watcher, err := w.open()
		if err != nil {
			w.failed(err)
			return
		}
		w.watcher = watcher
	}
	for _, directory := range w.directories {
		if err := w.watcher.Add(directory); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.failed(err)
		}
	}
}

func (w *fileWatch) failed(err error) {
	if !w.told {
		w.told = true
		w.log.Info("certificate files cannot be watched; they are still read at intervals", "every", pollInterval, "reason", err.Error())
	}
}

// events and errors return a nil channel, which never delivers, while there is no watch.
func (w *fileWatch) events() <-chan fsnotify.Event {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Events
}

func (w *fileWatch) errors() <-chan error {
	if w.watcher == nil {
		return nil
	}
	return w.watcher.Errors
}

func (w *fileWatch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close() // nothing can be done about an error
	}
}
