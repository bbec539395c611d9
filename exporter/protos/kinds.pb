
¶
kinds.protorawbert.kinds"J

SavedModel<
meta_graphs (2.rawbert.kinds.MetaGraphDefR
metaGraphs"D
MetaGraphDef4
	graph_def (2.rawbert.kinds.GraphDefRgraphDef"s
GraphDef*
node (2.rawbert.kinds.NodeDefRnode;
library (2!.rawbert.kinds.FunctionDefLibraryRlibrary"0
FunctionDefLibrary
function (Rfunction"@
FunctionDef1
node_def (2.rawbert.kinds.NodeDefRnodeDef"J
WholeFunctionDef6
node_def (2.rawbert.kinds.WholeNodeDefRnodeDef"J
WholeNodeDef
op (Rop
device (Rdevice
attr (Rattr"Z
NodeDef
op (Rop
device (Rdevice'
attr (2.rawbert.kinds.AttrRattr"H
Attr
key (Rkey.
value (2.rawbert.kinds.AttrValueRvalue"
	AttrValue
type (Rtype"6
Nodes
node (Rnode
node_def (RnodeDefbproto3