package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

// agent packs the agent for nodes outside of the cluster: as an archive, and as a Debian package with a unit of systemd.
func (r *release) agent(context.Context) error {
	for _, p := range servers {
		content, err := tarball([]member{
			{"refinery", r.binaries[p]["refinery"], true},
			{"LICENSE", filepath.Join(r.source, "LICENSE"), false},
			{"refinery.service", r.agentFile("refinery.service"), false},
			{"refinery.env", r.agentFile("refinery.env"), false},
		}, r.date)
		if err != nil {
			return err
		}
		if err := r.write(fmt.Sprintf("refinery_%s_%s.tar.gz", r.version, p), content); err != nil {
			return err
		}
		if err := r.debian(p); err != nil {
			return err
		}
	}
	return nil
}

// agentFile is a file of the source that goes into the packages.
func (r *release) agentFile(name string) string {
	return filepath.Join(r.source, "hack", "release", "agent", name)
}

func (r *release) debian(p platform) error {
	at := func(destination, source string, mode os.FileMode, kind string) *files.Content {
		return &files.Content{Source: source, Destination: destination, Type: kind, FileInfo: &files.ContentFileInfo{Mode: mode, MTime: r.date}}
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "refinery", Arch: p.arch, Platform: p.os, Version: r.version, Section: "net", Priority: "optional", MTime: r.date, DisableGlobbing: true,
		Maintainer: "The refinery operator's maintainers <https://" + home + ">", Homepage: "https://" + home, License: "Apache-2.0",
		Description: "agent of a node of the Cluster Protocol\n" +
			"Authenticates the node at its master, keeps the session alive, and publishes\nthe upstream that the master grants.",
		Overridables: nfpm.Overridables{
			Depends: []string{"systemd"},
			Contents: files.Contents{
				at("/usr/bin/refinery", r.binaries[p]["refinery"], 0o755, files.TypeFile),
				at("/usr/lib/systemd/system/refinery.service", r.agentFile("refinery.service"), 0o644, files.TypeFile),
				at("/usr/lib/sysusers.d/refinery.conf", r.agentFile("sysusers.conf"), 0o644, files.TypeFile),
				at("/usr/lib/tmpfiles.d/refinery.conf", r.agentFile("tmpfiles.conf"), 0o644, files.TypeFile),
				at("/etc/refinery/refinery.env", r.agentFile("refinery.env"), 0o644, files.TypeConfigNoReplace),
				at("/usr/share/doc/refinery/copyright", filepath.Join(r.source, "LICENSE"), 0o644, files.TypeFile),
			},
			Scripts: nfpm.Scripts{PostInstall: r.agentFile("postinst"), PreRemove: r.agentFile("prerm"), PostRemove: r.agentFile("postrm")},
		},
	})
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return err
	}
	var packed bytes.Buffer
	if err := deb.Default.Package(info, &packed); err != nil {
		return err
	}
	// Before a pre-release Debian writes a tilde, in whose place some file hosts put another character.
	return r.write("refinery_"+r.version+"_"+p.arch+".deb", packed.Bytes())
}
