package sqlfeature

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"quant"
	"quant/internal/factstore"
)

// tablesOf returns the tables that a query names, in byte order. Refused: it names
// another table than those of offered, reaches into a schema, or calls what gives
// another answer each time or tells of the database itself. Whether it is one reading
// statement is the sandbox's to say.
func tablesOf(ctx context.Context, db *factstore.DB, query string, offered func(string) bool) ([]string, error) {
	var tree string
	if err := db.QueryRow(ctx, "SELECT CAST(json_serialize_sql(CAST(? AS VARCHAR)) AS VARCHAR)", query).Scan(&tree); err != nil {
		return nil, quant.Errorf(quant.Usage, "the query cannot be read: %s", quant.Clip(quant.FirstLine(err.Error()), 300)).WithHint("write one SELECT")
	}
	var doc struct {
		Error      bool   `json:"error"`
		Message    string `json:"error_message"`
		Statements []any  `json:"statements"`
	}
	if err := json.Unmarshal([]byte(tree), &doc); err != nil {
		return nil, quant.Errorf(quant.Failed, "examine the query: %w", err)
	}
	if doc.Error {
		return nil, quant.Errorf(quant.Usage, "the query cannot be read: %s", quant.Clip(quant.FirstLine(doc.Message), 300)).WithHint("write one SELECT")
	}
	w := walk{own: map[string]bool{}}
	w.names(doc.Statements)
	if err := w.visit(doc.Statements); err != nil {
		return nil, err
	}
	var tables []string
	for _, name := range w.tables {
		if w.own[name] {
			continue
		}
		if !offered(name) {
			return nil, quant.Errorf(quant.Refused, "the query reads %s, which no feature can be made of", quant.Clip(name, 80)).
				WithHint("read ohlcv, returns, features_daily or a table of a feature version, labels, predictions")
		}
		if !slices.Contains(tables, name) {
			tables = append(tables, name)
		}
	}
	slices.Sort(tables)
	return tables, nil
}

// walk goes through the tree of a statement.
type walk struct {
	own    map[string]bool // names that the query gives to its own tables
	tables []string
}

// names finds what WITH names.
func (w *walk) names(node any) {
	switch node := node.(type) {
	case []any:
		for _, n := range node {
			w.names(n)
		}
	case map[string]any:
		if name, ok := node["cte_name"].(string); ok {
			w.own[strings.ToLower(name)] = true
		}
		if ctes, ok := node["cte_map"].(map[string]any); ok {
			list, _ := ctes["map"].([]any)
			for _, one := range list {
				if entry, ok := one.(map[string]any); ok {
					name, _ := entry["key"].(string)
					w.own[strings.ToLower(name)] = true
				}
			}
		}
		for _, n := range node {
			w.names(n)
		}
	}
}

// changing are functions whose answer is another one each time.
func changing() []string {
	return []string{"random", "setseed", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "now", "today", "current_date", "current_time", "current_timestamp", "current_localtime",
		"current_localtimestamp", "get_current_time", "get_current_timestamp", "transaction_timestamp", "localtime", "localtimestamp", "nextval", "currval",
		"current_transaction_id", "txid_current", "current_query_id", "current_connection_id", "age"}
}

func (w *walk) visit(node any) error {
	switch node := node.(type) {
	case []any:
		for _, n := range node {
			if err := w.visit(n); err != nil {
				return err
			}
		}
	case map[string]any:
		if err := w.one(node); err != nil {
			return err
		}
		for _, n := range node {
			if err := w.visit(n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walk) one(node map[string]any) error {
	word := func(key string) string { s, _ := node[key].(string); return strings.ToLower(s) }
	refused := func(what, why string) error {
		return quant.Errorf(quant.Refused, "the query uses %s: %s", quant.Clip(what, 80), why).WithHint("a feature follows from the tables alone")
	}
	if name := word("function_name"); slices.Contains(changing(), name) {
		children, _ := node["children"].([]any)
		if name != "age" || len(children) < 2 { // to today
			return refused(name, "it gives another answer each time")
		}
	}
	if word("class") == "COLUMN_REF" || word("class") == "column_ref" {
		if names, _ := node["column_names"].([]any); len(names) == 1 {
			if name, _ := names[0].(string); slices.Contains(changing(), strings.ToLower(name)) && strings.HasPrefix(strings.ToLower(name), "current_") {
				return refused(name, "it gives another answer each time")
			}
		}
	}
	if sample, has := node["sample"]; has && sample != nil {
		return refused("a sample", "it gives another answer each time")
	}
	switch word("type") {
	case "base_table":
		if schema := word("schema_name"); schema != "" && schema != "main" || word("catalog_name") != "" {
			return refused(schema+"."+word("table_name"), "tables are named without a schema")
		}
		w.tables = append(w.tables, word("table_name"))
	case "table_function":
		f, _ := node["function"].(map[string]any)
		name, _ := f["function_name"].(string)
		if !slices.Contains([]string{"range", "generate_series", "unnest"}, strings.ToLower(name)) {
			return refused("the table function "+name, "it tells of the database, not of the market")
		}
	case "show_ref":
		return refused("SHOW or DESCRIBE", "it tells of the database, not of the market")
	}
	return nil
}
