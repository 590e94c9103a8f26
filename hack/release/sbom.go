package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"

	"github.com/refinery-operator/refinery-operator/hack/image"
)

const unknown = "NOASSERTION"

// billsOfMaterials writes one SPDX document for each program and platform, from what Go wrote into the binary.
func (r *release) billsOfMaterials(context.Context) error {
	for _, p := range clients {
		for _, name := range slices.Concat(image.Names, []string{kubectlPlugin}) {
			binary, made := r.binaries[p][name]
			if !made {
				continue
			}
			document, err := r.billOfMaterials(name, p, binary)
			if err != nil {
				return err
			}
			var content bytes.Buffer
			if err := spdxjson.Write(document, &content, spdxjson.Indent(" ")); err != nil {
				return err
			}
			if err := r.write(fmt.Sprintf("%s_%s_%s.spdx.json", name, r.version, p), content.Bytes()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *release) billOfMaterials(name string, p platform, binary string) (*spdx.Document, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum, err := checksum(binary)
	if err != nil {
		return nil, err
	}
	program := goPackage("Program", home, "v"+r.version)
	program.PackageName, program.PackageFileName, program.PackageLicenseDeclared = name, p.executable(name), "Apache-2.0"
	program.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: sum}}
	program.PackageSourceInfo = "commit " + r.commit
	program.PrimaryPackagePurpose = "APPLICATION"
	document := &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      fmt.Sprintf("%s %s for %s/%s", name, r.version, p.os, p.arch),
		DocumentNamespace: fmt.Sprintf("https://%s/spdx/%s_%s_%s-%s", home, name, r.version, p, sum),
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "refinery-operator-release-" + r.version}}, Created: r.date.Format(time.RFC3339),
		},
		Packages:      []*spdx.Package{program},
		Relationships: []*spdx.Relationship{relationship("DOCUMENT", "DESCRIBES", "Program")},
	}
	parts := []*spdx.Package{goPackage("Standard-library", "std", info.GoVersion)}
	for i, module := range info.Deps {
		parts = append(parts, modulePackage(i+1, module))
	}
	for _, part := range parts {
		document.Packages = append(document.Packages, part)
		document.Relationships = append(document.Relationships, relationship("Program", "CONTAINS", part.PackageSPDXIdentifier))
	}
	return document, nil
}

// modulePackage is the module that was compiled: the replacement, if there is one.
func modulePackage(number int, module *debug.Module) *spdx.Package {
	if module.Replace != nil {
		module = module.Replace
	}
	return goPackage(fmt.Sprintf("Module-%d", number), module.Path, module.Version)
}

func goPackage(id, path, version string) *spdx.Package {
	url := "pkg:golang/" + path + "@" + version
	if path == "std" {
		version = strings.TrimPrefix(version, "go")
		url = "pkg:golang/stdlib@" + version
	}
	return &spdx.Package{
		PackageName: path, PackageSPDXIdentifier: common.ElementID(id), PackageVersion: version, PackageDownloadLocation: unknown,
		PackageLicenseConcluded: unknown, PackageLicenseDeclared: unknown, PackageCopyrightText: unknown,
		PackageExternalReferences: []*spdx.PackageExternalReference{{Category: "PACKAGE-MANAGER", RefType: "purl", Locator: url}},
	}
}

func relationship(from common.ElementID, kind string, to common.ElementID) *spdx.Relationship {
	return &spdx.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}, Relationship: kind,
	}
}
