package relational

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"quant"
	"quant/internal/metastore"
)

var (
	registeredModelTable = tableOf[quant.RegisteredModel]("registered_models")
	registeredTagTable   = tableOf[quant.RegisteredModelTag]("registered_model_tags")
	registeredAliasTable = tableOf[quant.RegisteredModelAlias]("registered_model_aliases")
	modelVersionTable    = tableOf[quant.ModelVersion]("model_versions")
	versionTagTable      = tableOf[quant.ModelVersionTag]("model_version_tags")
)

// registry runs the statements of one method of the registry in a transaction.
type registry struct {
	ctx context.Context
	q   Querier
}

func (db *DB) inRegistry(ctx context.Context, what string, fn func(r registry) error) error {
	return db.Write(ctx, what, "", func(ctx context.Context, q Querier) error { return fn(registry{ctx, q}) })
}

func (r registry) exec(query string, args ...any) error {
	_, err := r.q.ExecContext(r.ctx, query, args...)
	return err
}

// model is NotFound for a registered model that does not exist.
func (r registry) model(name string) error {
	var there int
	err := r.q.QueryRowContext(r.ctx, `SELECT 1 FROM registered_models WHERE name = ?`, name).Scan(&there)
	if errors.Is(err, sql.ErrNoRows) {
		return noModel(name)
	}
	return err
}

// version is NotFound for a version that does not exist or is deleted.
func (r registry) version(model string, version int64) error {
	var there int
	err := r.q.QueryRowContext(r.ctx, `SELECT 1 FROM model_versions WHERE model = ? AND version = ? AND stage <> ?`, model, version, quant.StageDeleted).Scan(&there)
	if errors.Is(err, sql.ErrNoRows) {
		return noVersion(model, version)
	}
	return err
}

func noModel(name string) error {
	return quant.Errorf(quant.NotFound, "registered model %q does not exist", name)
}

func noVersion(model string, version int64) error {
	return quant.Errorf(quant.NotFound, "registered model %q has no version %d", model, version)
}

// changed notes that something of a model was changed.
func (r registry) changed(model string, at quant.Time) error {
	return r.exec(`UPDATE registered_models SET updated_at = ? WHERE name = ?`, at, model)
}

// CreateRegisteredModel is documented at metastore.ModelRegistry.
func (db *DB) CreateRegisteredModel(ctx context.Context, m quant.RegisteredModel, tags []quant.RegisteredModelTag) error {
	if err := m.Validate(); err != nil {
		return err
	}
	return db.inRegistry(ctx, "create a registered model", func(r registry) error {
		if err := r.model(m.Name); !errors.Is(err, quant.NotFound) {
			if err == nil {
				err = quant.Errorf(quant.Conflict, "registered model %q exists already", m.Name)
			}
			return err
		}
		if err := r.exec(registeredModelTable.insert(), registeredModelTable.values(m)...); err != nil {
			return err
		}
		for _, t := range tags {
			t.Model = m.Name
			if err := r.setTag(t); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r registry) setTag(t quant.RegisteredModelTag) error {
	return r.exec(registeredTagTable.insert()+` ON CONFLICT (model, name) DO UPDATE SET value = excluded.value`, registeredTagTable.values(t)...)
}

// GetRegisteredModel is documented at metastore.ModelRegistry.
func (db *DB) GetRegisteredModel(ctx context.Context, name string) (d metastore.RegisteredModelDetail, err error) {
	models, err := list(ctx, db, "read a registered model", `SELECT `+registeredModelTable.columns+` FROM registered_models WHERE name = ?`, []any{name}, registeredModelTable.scan)
	if err != nil {
		return d, err
	}
	if len(models) == 0 {
		return d, noModel(name)
	}
	details, err := db.registeredDetails(ctx, models)
	if err != nil {
		return d, err
	}
	return details[0], nil
}

// registeredDetails reads what belongs to models, by one query for a table.
func (db *DB) registeredDetails(ctx context.Context, models []quant.RegisteredModel) ([]metastore.RegisteredModelDetail, error) {
	details := make([]metastore.RegisteredModelDetail, len(models))
	at, names := map[string]int{}, make([]string, len(models))
	for i, m := range models {
		details[i].RegisteredModel = m
		at[m.Name], names[i] = i, m.Name
	}
	if len(models) == 0 {
		return details, nil
	}
	wanted := listed(names)
	tags, err := list(ctx, db, "read tags of registered models", `SELECT `+registeredTagTable.columns+` FROM registered_model_tags
		WHERE model IN (SELECT value FROM json_each(?)) ORDER BY model, name`, []any{wanted}, registeredTagTable.scan)
	if err != nil {
		return nil, err
	}
	aliases, err := list(ctx, db, "read aliases of registered models", `SELECT `+registeredAliasTable.columns+` FROM registered_model_aliases
		WHERE model IN (SELECT value FROM json_each(?)) ORDER BY model, alias`, []any{wanted}, registeredAliasTable.scan)
	if err != nil {
		return nil, err
	}
	latest, err := list(ctx, db, "read versions of registered models", `SELECT `+modelVersionTable.of("v")+` FROM model_versions v
		JOIN (SELECT model, stage, max(version) AS version FROM model_versions WHERE model IN (SELECT value FROM json_each(?)) AND stage <> ? GROUP BY model, stage) l
		ON v.model = l.model AND v.version = l.version ORDER BY v.model, v.version`, []any{wanted, quant.StageDeleted}, modelVersionTable.scan)
	if err != nil {
		return nil, err
	}
	versions, err := db.versionDetails(ctx, latest)
	if err != nil {
		return nil, err
	}
	for _, t := range tags {
		d := &details[at[t.Model]]
		d.Tags = append(d.Tags, t)
	}
	for _, a := range aliases {
		d := &details[at[a.Model]]
		d.Aliases = append(d.Aliases, a)
	}
	for _, v := range versions {
		d := &details[at[v.Model]]
		d.Latest = append(d.Latest, v)
	}
	return details, nil
}

// DescribeRegisteredModel is documented at metastore.ModelRegistry.
func (db *DB) DescribeRegisteredModel(ctx context.Context, name string, description quant.Text, at quant.Time) error {
	return db.inRegistry(ctx, "describe a registered model", func(r registry) error {
		if err := r.model(name); err != nil {
			return err
		}
		return r.exec(`UPDATE registered_models SET description = ?, updated_at = ? WHERE name = ?`, description, at, name)
	})
}

// RenameRegisteredModel is documented at metastore.ModelRegistry.
func (db *DB) RenameRegisteredModel(ctx context.Context, name, newName string, at quant.Time) error {
	return db.inRegistry(ctx, "rename a registered model", func(r registry) error {
		if err := r.model(name); err != nil {
			return err
		}
		if name != newName {
			if err := r.model(newName); !errors.Is(err, quant.NotFound) {
				if err == nil {
					err = quant.Errorf(quant.Conflict, "registered model %q exists already", newName)
				}
				return err
			}
		}
		if err := r.exec(`UPDATE registered_models SET name = ?, updated_at = ? WHERE name = ?`, newName, at, name); err != nil { // the rest follows
			return err
		}
		return r.exec(`UPDATE model_versions SET updated_at = ? WHERE model = ?`, at, newName)
	})
}

// DeleteRegisteredModel is documented at metastore.ModelRegistry.
func (db *DB) DeleteRegisteredModel(ctx context.Context, name string) error {
	return db.inRegistry(ctx, "delete a registered model", func(r registry) error {
		if err := r.model(name); err != nil {
			return err
		}
		return r.exec(`DELETE FROM registered_models WHERE name = ?`, name) // the rest goes with it
	})
}

// SearchRegisteredModels is documented at metastore.ModelRegistry.
func (db *DB) SearchRegisteredModels(ctx context.Context, s metastore.ModelSearch) ([]metastore.RegisteredModelDetail, bool, error) {
	q, err := registrySearch(registeredShape, s, `registered_model_tags h WHERE h.model = m.name`)
	if err != nil {
		return nil, false, err
	}
	q.orderBy("m.name", false)
	models, more, err := found(ctx, db, "search registered models", q, registeredModelTable, "registered_models m", s.Offset, s.Limit)
	if err != nil {
		return nil, false, err
	}
	details, err := db.registeredDetails(ctx, models)
	return details, more, err
}

// SetRegisteredModelTag is documented at metastore.ModelRegistry.
func (db *DB) SetRegisteredModelTag(ctx context.Context, t quant.RegisteredModelTag) error {
	return db.inRegistry(ctx, "tag a registered model", func(r registry) error {
		if err := r.model(t.Model); err != nil {
			return err
		}
		return r.setTag(t)
	})
}

// DeleteRegisteredModelTag is documented at metastore.ModelRegistry.
func (db *DB) DeleteRegisteredModelTag(ctx context.Context, model, name string) error {
	return db.inRegistry(ctx, "delete a tag of a registered model", func(r registry) error {
		if err := r.model(model); err != nil {
			return err
		}
		return r.exec(`DELETE FROM registered_model_tags WHERE model = ? AND name = ?`, model, name)
	})
}

// SetRegisteredModelAlias is documented at metastore.ModelRegistry.
func (db *DB) SetRegisteredModelAlias(ctx context.Context, a quant.RegisteredModelAlias) error {
	return db.inRegistry(ctx, "set an alias of a registered model", func(r registry) error {
		if err := r.version(a.Model, a.Version); err != nil {
			return err
		}
		return r.exec(registeredAliasTable.insert()+` ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version`, registeredAliasTable.values(a)...)
	})
}

// DeleteRegisteredModelAlias is documented at metastore.ModelRegistry.
func (db *DB) DeleteRegisteredModelAlias(ctx context.Context, model, alias string) error {
	return db.inRegistry(ctx, "delete an alias of a registered model", func(r registry) error {
		if err := r.model(model); err != nil {
			return err
		}
		return r.exec(`DELETE FROM registered_model_aliases WHERE model = ? AND alias = ?`, model, alias)
	})
}

// CreateModelVersion is documented at metastore.ModelRegistry.
func (db *DB) CreateModelVersion(ctx context.Context, v quant.ModelVersion, tags []quant.ModelVersionTag) (int64, error) {
	if err := v.Validate(); err != nil {
		return 0, err
	}
	err := db.Write(ctx, "create a version of a registered model", "meta.log", func(ctx context.Context, q Querier) error {
		r := registry{ctx, q}
		err := q.QueryRowContext(ctx, `UPDATE registered_models SET last_version = last_version + 1, updated_at = ? WHERE name = ? RETURNING last_version`,
			v.CreatedAt, v.Model).Scan(&v.Version)
		if errors.Is(err, sql.ErrNoRows) {
			return noModel(v.Model)
		}
		if err != nil {
			return err
		}
		if err := r.exec(modelVersionTable.insert(), modelVersionTable.values(v)...); err != nil {
			return err
		}
		for _, t := range tags {
			t.Model, t.Version = v.Model, v.Version
			if err := r.setVersionTag(t); err != nil {
				return err
			}
		}
		return nil
	})
	return v.Version, err
}

func (r registry) setVersionTag(t quant.ModelVersionTag) error {
	return r.exec(versionTagTable.insert()+` ON CONFLICT (model, version, name) DO UPDATE SET value = excluded.value`, versionTagTable.values(t)...)
}

// GetModelVersion is documented at metastore.ModelRegistry.
func (db *DB) GetModelVersion(ctx context.Context, model string, version int64) (metastore.ModelVersionDetail, error) {
	return db.oneVersion(ctx, noVersion(model, version), `SELECT `+modelVersionTable.columns+` FROM model_versions
		WHERE model = ? AND version = ? AND stage <> ?`, model, version, quant.StageDeleted)
}

// ModelVersionOf is documented at metastore.ModelRegistry.
func (db *DB) ModelVersionOf(ctx context.Context, model, alias string) (metastore.ModelVersionDetail, error) {
	return db.oneVersion(ctx, quant.Errorf(quant.NotFound, "registered model %q has no alias %q", model, alias),
		`SELECT `+modelVersionTable.of("v")+` FROM registered_model_aliases a JOIN model_versions v ON v.model = a.model AND v.version = a.version
		WHERE a.model = ? AND a.alias = ? AND v.stage <> ?`, model, alias, quant.StageDeleted)
}

func (db *DB) oneVersion(ctx context.Context, none error, query string, args ...any) (d metastore.ModelVersionDetail, err error) {
	versions, err := list(ctx, db, "read a version of a registered model", query, args, modelVersionTable.scan)
	if err != nil {
		return d, err
	}
	if len(versions) == 0 {
		return d, none
	}
	details, err := db.versionDetails(ctx, versions)
	if err != nil {
		return d, err
	}
	return details[0], nil
}

// versionDetails reads what belongs to versions, by one query for a table.
func (db *DB) versionDetails(ctx context.Context, versions []quant.ModelVersion) ([]metastore.ModelVersionDetail, error) {
	type key struct {
		model   string
		version int64
	}
	details := make([]metastore.ModelVersionDetail, len(versions))
	at, models := map[key]int{}, []string{}
	named := map[string]bool{}
	for i, v := range versions {
		details[i].ModelVersion = v
		at[key{v.Model, v.Version}] = i
		if !named[v.Model] {
			named[v.Model] = true
			models = append(models, v.Model)
		}
	}
	if len(versions) == 0 {
		return details, nil
	}
	wanted := listed(models)
	const of = ` WHERE model IN (SELECT value FROM json_each(?))`
	query, args := `SELECT `+versionTagTable.columns+` FROM model_version_tags`+of+` ORDER BY model, version, name`, []any{wanted}
	if len(versions) == 1 {
		query = `SELECT ` + versionTagTable.columns + ` FROM model_version_tags` + of + ` AND version = ? ORDER BY name`
		args = append(args, versions[0].Version)
	}
	tags, err := list(ctx, db, "read tags of versions", query, args, versionTagTable.scan)
	if err != nil {
		return nil, err
	}
	aliases, err := list(ctx, db, "read aliases of versions", `SELECT `+registeredAliasTable.columns+` FROM registered_model_aliases`+of+
		` ORDER BY model, alias`, []any{wanted}, registeredAliasTable.scan)
	if err != nil {
		return nil, err
	}
	for _, t := range tags {
		if i, ok := at[key{t.Model, t.Version}]; ok {
			details[i].Tags = append(details[i].Tags, t)
		}
	}
	for _, a := range aliases {
		if i, ok := at[key{a.Model, a.Version}]; ok {
			details[i].Aliases = append(details[i].Aliases, a.Alias)
		}
	}
	return details, nil
}

// DescribeModelVersion is documented at metastore.ModelRegistry.
func (db *DB) DescribeModelVersion(ctx context.Context, model string, version int64, description quant.Text, at quant.Time) error {
	return db.inRegistry(ctx, "describe a version of a registered model", func(r registry) error {
		if err := r.version(model, version); err != nil {
			return err
		}
		return r.exec(`UPDATE model_versions SET description = ?, updated_at = ? WHERE model = ? AND version = ?`, description, at, model, version)
	})
}

// StageModelVersion is documented at metastore.ModelRegistry.
func (db *DB) StageModelVersion(ctx context.Context, model string, version int64, stage, archive string, at quant.Time) error {
	return db.inRegistry(ctx, "move a version of a registered model", func(r registry) error {
		if err := r.version(model, version); err != nil {
			return err
		}
		if archive != "" {
			err := r.exec(`UPDATE model_versions SET stage = ?, updated_at = ? WHERE model = ? AND version <> ? AND stage = ?`, archive, at, model, version, stage)
			if err != nil {
				return err
			}
		}
		if err := r.exec(`UPDATE model_versions SET stage = ?, updated_at = ? WHERE model = ? AND version = ?`, stage, at, model, version); err != nil {
			return err
		}
		return r.changed(model, at)
	})
}

// DeleteModelVersion is documented at metastore.ModelRegistry.
func (db *DB) DeleteModelVersion(ctx context.Context, model string, version int64, at quant.Time) error {
	return db.inRegistry(ctx, "delete a version of a registered model", func(r registry) error {
		if err := r.version(model, version); err != nil {
			return err
		}
		for _, from := range []string{`registered_model_aliases`, `model_version_tags`} {
			if err := r.exec(fmt.Sprintf(`DELETE FROM %s WHERE model = ? AND version = ?`, from), model, version); err != nil {
				return err
			}
		}
		err := r.exec(`UPDATE model_versions SET stage = ?, updated_at = ?, description = NULL, source = '', location = '', run_id = NULL, run_link = NULL,
			model_id = NULL, status_message = NULL WHERE model = ? AND version = ?`, quant.StageDeleted, at, model, version)
		if err != nil {
			return err
		}
		return r.changed(model, at)
	})
}

// SearchModelVersions is documented at metastore.ModelRegistry.
func (db *DB) SearchModelVersions(ctx context.Context, s metastore.ModelSearch) ([]metastore.ModelVersionDetail, bool, error) {
	q, err := registrySearch(versionShape, s, `model_version_tags h WHERE h.model = m.model`)
	if err != nil {
		return nil, false, err
	}
	q.and(fragment{`m.stage <> ?`, []any{quant.StageDeleted}})
	q.orderBy("m.model", false)
	q.orderBy("m.version", true)
	versions, more, err := found(ctx, db, "search versions of registered models", q, modelVersionTable, "model_versions m", s.Offset, s.Limit)
	if err != nil {
		return nil, false, err
	}
	details, err := db.versionDetails(ctx, versions)
	return details, more, err
}

// SetModelVersionTag is documented at metastore.ModelRegistry.
func (db *DB) SetModelVersionTag(ctx context.Context, t quant.ModelVersionTag) error {
	return db.inRegistry(ctx, "tag a version of a registered model", func(r registry) error {
		if err := r.version(t.Model, t.Version); err != nil {
			return err
		}
		return r.setVersionTag(t)
	})
}

// DeleteModelVersionTag is documented at metastore.ModelRegistry.
func (db *DB) DeleteModelVersionTag(ctx context.Context, model string, version int64, name string) error {
	return db.inRegistry(ctx, "delete a tag of a version", func(r registry) error {
		if err := r.version(model, version); err != nil {
			return err
		}
		return r.exec(`DELETE FROM model_version_tags WHERE model = ? AND version = ? AND name = ?`, model, version, name)
	})
}
